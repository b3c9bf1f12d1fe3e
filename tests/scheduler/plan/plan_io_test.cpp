#include "scheduler/plan/plan_io.h"

#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <set>

#include "scheduler/plan/fingerprint.h"
#include "scheduler/plan/plan.pb.h"

namespace ballast::scheduler {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

/// Fills every field with a value of its own. A list of messages with a oneof gets one element per alternative.
class Filler {
 public:
  void fill(Message& message, int alternative = 0) {
    const Descriptor& descriptor = *message.GetDescriptor();
    const Reflection& reflection = *message.GetReflection();
    for (int i = 0; i < descriptor.field_count(); ++i) {
      const FieldDescriptor* field = descriptor.field(i);
      if (const auto* choice = field->containing_oneof()) {
        if (choice->field(alternative % choice->field_count()) != field) continue;
      }
      filled_.insert(field->full_name());
      if (field->is_repeated()) {
        int count = 2;
        if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && field->message_type()->oneof_decl_count() > 0) {
          count = field->message_type()->oneof_decl(0)->field_count();
        }
        for (int k = 0; k < count; ++k) {
          if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) fill(*reflection.AddMessage(&message, field), k);
          if (field->cpp_type() == FieldDescriptor::CPPTYPE_INT64) reflection.AddInt64(&message, field, ++value_);
          if (field->cpp_type() == FieldDescriptor::CPPTYPE_INT32) reflection.AddInt32(&message, field, ++value_);
        }
      } else {
        switch (field->cpp_type()) {
          case FieldDescriptor::CPPTYPE_MESSAGE:
            fill(*reflection.MutableMessage(&message, field));
            break;
          case FieldDescriptor::CPPTYPE_INT64:
            reflection.SetInt64(&message, field, ++value_);
            break;
          case FieldDescriptor::CPPTYPE_INT32:
            reflection.SetInt32(&message, field, ++value_);
            break;
          case FieldDescriptor::CPPTYPE_BOOL:
            reflection.SetBool(&message, field, true);
            break;
          case FieldDescriptor::CPPTYPE_STRING:
            reflection.SetString(&message, field, "text");
            break;
          default:
            FAIL() << field->full_name() << " has a type that this test does not fill";
        }
      }
    }
  }
  std::set<std::string> filled_;

 private:
  int value_ = 0;
};

void collect_fields(const Descriptor& descriptor, std::set<std::string>& names) {
  for (int i = 0; i < descriptor.field_count(); ++i) {
    if (!names.insert(descriptor.field(i)->full_name()).second) continue;
    if (const Descriptor* type = descriptor.field(i)->message_type()) collect_fields(*type, names);
  }
}

TEST(PlanIo, EveryFieldSurvivesTheRoundTrip) {
  schema::Plan message;
  Filler filler;
  filler.fill(message);
  std::set<std::string> all;
  collect_fields(*schema::Plan::descriptor(), all);
  EXPECT_EQ(filler.filled_, all);

  const Plan plan = plan_from(message);
  schema::Plan again;
  to_message(plan, again);
  std::string difference;
  google::protobuf::util::MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&difference);
  EXPECT_TRUE(differencer.Compare(message, again)) << difference;
  EXPECT_EQ(plan_from(again), plan);
}

TEST(PlanIo, RefusesWorkWithoutAKind) {
  schema::Plan message;
  message.add_micro_batches()->add_work();
  EXPECT_THROW(plan_from(message), std::invalid_argument);
  message.Clear();
  message.add_ranks()->add_instructions();
  EXPECT_THROW(plan_from(message), std::invalid_argument);
}

TEST(PlanIo, JsonHasTheFieldNamesOfTheSchema) {
  Plan plan;
  plan.policy = "sequential";
  plan.lengths = {7};
  plan.micro_batches.resize(1);
  plan.micro_batches[0].work = {Ring{0, {1}, {7}}};
  const std::string json = plan_to_json(plan);
  EXPECT_NE(json.find(R"("lengths":["7"])"), std::string::npos) << json;
  EXPECT_NE(json.find(R"("micro_batches":[{)"), std::string::npos) << json;
}

}  // namespace
}  // namespace ballast::scheduler
