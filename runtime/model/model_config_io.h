#pragma once
// From the schema's message to plain values.
#include "runtime/model/model_config.h"

namespace ballast::schema {
class Model;
}

namespace ballast::model {

/// Reads a checked message.
/// Throws: std::invalid_argument for a compute type that the CPU build does not have.
ModelConfig model_config(const schema::Model& message);

}  // namespace ballast::model
