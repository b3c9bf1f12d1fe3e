#include "launch/commands.h"

#include "launch/planner_grid.h"
#include "launch/planning_text.h"

namespace ballast::launch {

namespace {

constexpr const char* kResizes = "ranks to plan for: the cluster is cut or, if its nodes are equal, grown to them";

}  // namespace

const std::vector<Command>& commands() {
  using enum Flag;
  static const std::vector<Command> table = {
      {"train", "<run.textproto>", "train a model", {kSet, kResume}, nullptr},
      {"eval", "<run.textproto>", "held-out loss of a checkpoint", {kSet, kJson}, nullptr},
      {"generate", "<run.textproto>", "text from a checkpoint", {kSet, kJson}, nullptr},
      {"bench",
       "step|policies|calibrate|planner [run or grid.textproto]",
       "timings of training steps, of policies and of this machine; plans of every policy compared",
       {{kSet, "set a field of the run, or of the grid of planner and its clusters and models; may be repeated"},
        kJson,
        {kWorld, "planner: GPUs, instead of the grid's sizes"},
        {kOut, "calibrate: file of the measured cluster; planner: file of results, with which a grid that was cut goes on"},
        {kPolicy, "policies, planner: these alone, separated by commas"},
        {kCluster, "planner: cluster file, instead of the grid's; with --model and --lengths no grid is needed"},
        {kModel, "planner: model file, instead of the grid's"},
        {kLengths, "policies, planner: sequence lengths, instead of the run's data or the grid's"},
        {kBench, "calibrate: measure too"}},
       run_bench_planner,
       is_bench_planner,
       planner_notes},
      {"doctor", "[folder]", "what this machine can do, and what to change", {kJson}, nullptr},
      {"config",
       "show|check|docs|diff [file...]",
       "resolve, check, compare and explain run files",
       {kSet, kJson, kWorld},
       run_config},
      {"data",
       "inspect|verify|tokenize <run.textproto>",
       "look at a corpus, check it, write it as tokens",
       {kSet, kJson, kOut},
       run_data},
      {"plan",
       "[run.textproto]",
       "plan a step: who computes what, and the memory it needs",
       {kSet,
        {kJson, "the plan itself, as JSON (scheduler/plan/plan.proto)"},
        {kWorld, kResizes},
        {kOut, "file for the plan, as --json prints it"},
        kPolicy,
        kCluster,
        kModel,
        kLengths},
       run_plan,
       nullptr,
       planning_notes},
      {"simulate",
       "[run.textproto]",
       "what a step would take, by policy: times, idle, exposed communication, traffic",
       {kSet,
        {kJson, "a JSON object for each row, with the times of every rank and the bytes of every card"},
        {kWorld, kResizes},
        {kOut, "file for the trace of the step (Chrome JSON; ui.perfetto.dev opens it)"},
        {kPolicy, "way of placing sequences, instead of the run's; all: one row for each of them"},
        {kReport, "file for an HTML page with the charts of the step and, beside it, that of te_cp"},
        kCluster,
        kModel,
        kLengths},
       run_simulate,
       nullptr,
       planning_notes},
      {"report", "<run folder>", "a run as a page of plots", {kOut, kJson}, run_report},
  };
  return table;
}

}  // namespace ballast::launch
