#pragma once
// Model shape from its text form.
#include "scheduler/cost/model_shape.h"

namespace ballast::schema {
class Model;
}

namespace ballast::scheduler {

/// Throws: std::invalid_argument when heads do not divide, or experts are asked for without a width.
ModelShape model_shape_from(const schema::Model& model);

}  // namespace ballast::scheduler
