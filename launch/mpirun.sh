#!/bin/bash
# mpirun with the settings that Ballast wants. Usage: launch/mpirun.sh MPIRUN_ARGUMENTS...
#   launch/mpirun.sh -n 4 build/cpu/ballast train RUN
#   launch/mpirun.sh -n 16 --hostfile HOSTS /path/on/every/host/ballast train RUN
# Every setting is a default: the environment and mpirun's own arguments win.
set -euo pipefail

# More ranks than cores is legal: whoever waits gives the core away.
export OMPI_MCA_mpi_yield_when_idle=${OMPI_MCA_mpi_yield_when_idle:-1}
# Open MPI would pin one or two ranks to one core each, threads included.
export OMPI_MCA_hwloc_base_binding_policy=${OMPI_MCA_hwloc_base_binding_policy:-none}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# Containers forbid one process to read another's memory.
export OMPI_MCA_btl_vader_single_copy_mechanism=${OMPI_MCA_btl_vader_single_copy_mechanism:-none}

case " $* " in
  *" --hostfile "* | *" -hostfile "* | *" --machinefile "* | *" -machinefile "* | *" --host "* | *" -host "* | *" -H "*) ;;
  *) # One machine: shared memory, and no search for network cards at start-up.
    export OMPI_MCA_rmaps_base_oversubscribe=${OMPI_MCA_rmaps_base_oversubscribe:-1}
    export OMPI_MCA_pml=${OMPI_MCA_pml:-ob1} OMPI_MCA_btl=${OMPI_MCA_btl:-self,vader,tcp}
    ;;
esac
# Open MPI refuses root, for good reason; in a container there is often nobody else.
if [ "$(id -u)" = 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
exec mpirun -x OMP_NUM_THREADS "$@"
