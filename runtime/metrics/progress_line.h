#pragma once
#include <string>

#include "runtime/metrics/metrics_record.h"

namespace ballast::metrics {

/// The record as one line of aligned key=value cells, without a line end. What is unknown reads n/a; what a run cannot have
/// (experts of a dense model) is left out.
/// Units: ms and comm in milliseconds, mem in GiB (the fullest rank), tok/s of all ranks / of one, eta d-hh:mm rounded up.
///   step=1240/20000 tok=2.54M loss=3.412 z=-0.3 gnorm=0.81 z=+0.1 lr=5.9e-04 ms=127/128 tok/s=16.1k/4.03k mfu=41.6% mem=0.61
///   comm=4 imb=1.03/1.05 zone=62/30/8% moe=1.00/0/0.0% skip=0/0 ckpt=1200 eta=0-00:40
/// comm: not hidden by compute, mean over the ranks. imb: fullest rank / mean, planned / measured. zone: tokens whose attention
/// stays on one rank / inside a node / crosses nodes.
/// moe: rows of the fullest expert / mean in the worst layer, experts without a row, rows dropped.
/// skip: steps skipped for a non-finite value / for a spike. ckpt: step of the newest durable checkpoint.
std::string progress_line(const MetricsRecord& record);

}  // namespace ballast::metrics
