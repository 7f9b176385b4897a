// The ops as ONNX Runtime sees them: names, types, shapes, errors. Plain C API, version 17 (the first with a parallel
// loop), so that every runtime from 1.17 on loads the library.
#include <onnxruntime_c_api.h>

#include <algorithm>
#include <climits>
#include <deque>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "dequantize_gather.h"

namespace eigenselect {
namespace {

constexpr uint32_t kApiVersion = 17;
constexpr const char* kDomain = "eigenselect";
constexpr int kMostShared = 16;  // bits of a window of a trellis code beside those of its own value
constexpr int kFirstWindow = 8, kLastWindow = 16;  // of trellis codes of several planes
constexpr int64_t kTaskBytes = 1 << 16;  // of output: what is worth to be handed to another thread

#ifdef EIGENSELECT_CUDA
constexpr bool kProviders[] = {false, true};  // CPU, CUDA
#else
constexpr bool kProviders[] = {false};
#endif

const OrtApi* api = nullptr;

void check(OrtStatus* status) {
  if (status == nullptr) return;
  const std::string message = api->GetErrorMessage(status);
  api->ReleaseStatus(status);
  throw std::runtime_error(message);
}

// Runs `body`; exceptions must not reach the runtime.
template <typename Body>
OrtStatus* guarded(const Body& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const std::exception& error) {
    return api->CreateStatus(ORT_INVALID_ARGUMENT, error.what());
  }
}

struct Tensor {
  void* data;
  std::vector<int64_t> shape;
};

Tensor tensor_of(const OrtValue* value) {
  Tensor tensor;
  check(api->GetTensorMutableData(const_cast<OrtValue*>(value), &tensor.data));
  OrtTensorTypeAndShapeInfo* info = nullptr;
  check(api->GetTensorTypeAndShape(value, &info));
  size_t rank = 0;
  OrtStatus* status = api->GetDimensionsCount(info, &rank);
  if (status == nullptr) {
    tensor.shape.resize(rank);
    status = api->GetDimensions(info, tensor.shape.data(), rank);
  }
  api->ReleaseTensorTypeAndShapeInfo(info);
  check(status);
  return tensor;
}

std::string text(const std::vector<int64_t>& shape) {
  std::string joined = "(";
  for (const int64_t size : shape) joined += (joined.size() > 1 ? ", " : "") + std::to_string(size);
  return joined + ")";
}

int64_t product(const std::vector<int64_t>& shape) {
  int64_t size = 1;
  for (const int64_t length : shape) size *= length;
  return size;
}

enum class Scaled { kNot, kByNumbers, kByCodes };

// What an op does with the bytes of a row.
struct Kind {
  int bits = 0;    // of evenly spaced or trellis codes; 0: a lookup
  int window = 0;  // of trellis codes; otherwise 0
  bool some = false;  // of trellis codes, some columns alone
  Scaled scaled = Scaled::kNot;

  bool linear() const { return bits && !window; }

  std::string name() const {
    std::string made = "DequantizeGather";
    if (window) made = "TrellisGather" + std::to_string(bits) + "W" + std::to_string(window);
    if (some) made += "Columns";
    if (linear()) made += "U" + std::to_string(bits);
    return made + (scaled == Scaled::kNot ? "" : scaled == Scaled::kByNumbers ? "Scaled" : "ScaledByCodes");
  }
};

// One op for one type of values, one type of ids and one execution provider.
struct Op : OrtCustomOp {
  Kind kind;
  ONNXTensorElementDataType value_type;
  ONNXTensorElementDataType id_type;
  bool cuda;
  std::string name;
  std::vector<int> widths;  // bits of a value of each plane

  Op(Kind kind, ONNXTensorElementDataType value_type, ONNXTensorElementDataType id_type, bool cuda);

  // planes, then lut, the levels of each plane or scale and zero_point, then places, then what rows are scaled by, then
  // ids
  size_t planes() const { return widths.size(); }
  size_t tables() const { return kind.window ? planes() : 1; }
  size_t row_scales() const { return planes() + tables() + (kind.linear() || kind.some); }
  size_t inputs() const { return row_scales() + static_cast<size_t>(kind.scaled) + 1; }

  ONNXTensorElementDataType input_type(size_t index) const {
    if (index + 1 == inputs()) return id_type;
    if (index < planes()) return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
    if (index < planes() + tables()) return value_type;
    if (index < row_scales() && kind.some) return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
    if (index < row_scales()) return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
    if (kind.scaled == Scaled::kByNumbers) return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    return index == row_scales() ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 : value_type;
  }
};

// The ids as rows from 0 to n-1.
template <typename Id>
std::vector<int64_t> checked(const std::string& op, const Id* ids, int64_t count, int64_t n) {
  std::vector<int64_t> rows(count);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t id = ids[i];
    if (id < -n || id >= n) {
      throw std::invalid_argument(op + ": id " + std::to_string(id) + " is out of range for a table of " +
                                  std::to_string(n) + " rows: it must be from " + std::to_string(-n) + " to " +
                                  std::to_string(n - 1));
    }
    rows[i] = id < 0 ? id + n : id;
  }
  return rows;
}

struct Kernel {
  const Op& op;
  int64_t dim = 0;

  Kernel(const Op& op, const OrtKernelInfo* info) : op(op) {
    check(api->KernelInfoGetAttribute_int64(info, "dim", &dim));
  }

  [[noreturn]] void refuse(const std::string& what) const { throw std::invalid_argument(op.name + ": " + what); }

  void take_row_scales(const std::vector<Tensor>& inputs, Call& call) const {
    const Tensor& column = inputs[op.row_scales()];
    if (column.shape != std::vector<int64_t>{call.n, 1}) {
      refuse("scales of shape " + text(column.shape) + " for a table of " + std::to_string(call.n) + " rows");
    }
    if (op.kind.scaled == Scaled::kByNumbers) {
      call.row_scale = static_cast<const uint16_t*>(column.data);
      return;
    }
    const Tensor& levels = inputs[op.row_scales() + 1];
    if (levels.shape != std::vector<int64_t>{256, 1}) {
      refuse("levels of scales of shape " + text(levels.shape) + ": they must be (256, 1)");
    }
    call.row_code = static_cast<const uint8_t*>(column.data);
    call.row_level = static_cast<const float*>(levels.data);
  }

  void compute(OrtKernelContext* context) const {
    std::vector<Tensor> inputs;
    for (size_t i = 0; i < op.inputs(); ++i) {
      const OrtValue* value = nullptr;
      check(api->KernelContext_GetInput(context, i, &value));
      inputs.push_back(tensor_of(value));
    }
    const Tensor& ids = inputs.back();

    Call call{};
    call.planes = static_cast<int>(op.planes());
    call.bits = op.kind.bits;
    call.window = op.kind.window;
    call.half = op.value_type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    call.ids = ids.data;
    call.wide_ids = op.id_type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
    call.count = product(ids.shape);
    call.dim = dim;
    const Tensor& table = inputs[op.planes()];  // lookup table, levels or scale
    if (op.kind.linear()) {
      call.scale = static_cast<const float*>(table.data);
      call.zero_point = static_cast<const uint8_t*>(inputs[op.planes() + 1].data);
      if (product(table.shape) != 1 || product(inputs[op.planes() + 1].shape) != 1) {
        refuse("scale and zero_point must be one number each");
      }
    } else if (op.kind.window) {
      for (size_t p = 0; p < op.planes(); ++p) {
        const Tensor& levels = inputs[op.planes() + p];
        if (levels.shape != std::vector<int64_t>{int64_t{1} << op.kind.window}) {
          refuse("levels of shape " + text(levels.shape) + ": there must be " + std::to_string(1 << op.kind.window));
        }
        call.levels[p] = static_cast<const float*>(levels.data);
      }
    } else {
      call.lut = table.data;
      if (table.shape.size() != 2 || table.shape[0] != 256) {
        refuse("a lookup table of shape " + text(table.shape) + ": it must be (256, v)");
      }
    }
    for (size_t p = 0; p < op.planes(); ++p) {
      const std::vector<int64_t>& shape = inputs[p].shape;
      if (shape.size() != 2) refuse("packed rows of shape " + text(shape) + ": they must be (n, w)");
      if (p > 0 && shape[0] != call.n) {
        refuse("planes of " + std::to_string(call.n) + " and " + std::to_string(shape[0]) + " rows");
      }
      call.n = shape[0];
      call.plane[p] = {static_cast<const uint8_t*>(inputs[p].data), shape[1],
                       op.kind.bits ? 8 / op.widths[p] : table.shape[1]};
      const int64_t columns = shape[1] * call.plane[p].values;
      if (dim < 0 || dim > columns) {
        refuse("dim = " + std::to_string(dim) + ": it must be from 0 to the " + std::to_string(columns) +
               " columns that are stored");
      }
    }

    if (op.kind.some) {
      const Tensor& places = inputs[op.planes() + op.tables()];
      if (places.shape.size() != 1) refuse("places of shape " + text(places.shape) + ": they must be (k,)");
      call.place = static_cast<const int32_t*>(places.data);
      call.dim = places.shape[0];
      for (int64_t c = 0; c < call.dim; ++c) {
        if (call.place[c] < 0 || call.place[c] >= dim) {
          refuse("place " + std::to_string(call.place[c]) + ": it must be from 0 to " + std::to_string(dim - 1));
        }
      }
    }
    if (op.kind.scaled != Scaled::kNot) take_row_scales(inputs, call);

    std::vector<int64_t> rows;
    if (!op.cuda) {
      rows = call.wide_ids ? checked(op.name, static_cast<const int64_t*>(ids.data), call.count, call.n)
                           : checked(op.name, static_cast<const int32_t*>(ids.data), call.count, call.n);
    }

    std::vector<int64_t> shape = ids.shape;
    shape.push_back(call.dim);
    OrtValue* output = nullptr;
    check(api->KernelContext_GetOutput(context, 0, shape.data(), shape.size(), &output));
    check(api->GetTensorMutableData(output, &call.out));
    if (call.count == 0 || call.dim == 0) return;

#ifdef EIGENSELECT_CUDA
    if (op.cuda) {
      void* stream = nullptr;
      check(api->KernelContext_GetGPUComputeStream(context, &stream));
      if (const char* error = decode_on_cuda(call, stream)) refuse(error);
      return;
    }
#endif
    struct Tasks {
      const Call& call;
      const std::vector<int64_t>& rows;
      int64_t size;
    } tasks{call, rows, std::max<int64_t>(1, kTaskBytes / (call.dim * (call.half ? 2 : 4)))};
    const int64_t count = (call.count + tasks.size - 1) / tasks.size;
    const auto run = [](void* data, size_t index) {
      const Tasks& tasks = *static_cast<const Tasks*>(data);
      const int64_t first = static_cast<int64_t>(index) * tasks.size;
      decode(tasks.call, tasks.rows.data(), first, std::min(first + tasks.size, tasks.call.count));
    };
    if (count == 1) return run(&tasks, 0);
    check(api->KernelContext_ParallelFor(context, run, count, 0, &tasks));
  }
};

const Op& of(const OrtCustomOp* op) { return *static_cast<const Op*>(op); }

Op::Op(Kind kind, ONNXTensorElementDataType value_type, ONNXTensorElementDataType id_type, bool cuda)
    : OrtCustomOp{},
      kind(kind),
      value_type(value_type),
      id_type(id_type),
      cuda(cuda),
      name(kind.name()) {
  for (const int width : {8, 4, 2, 1}) {
    if (kind.bits ? kind.bits & width : width == 8) widths.push_back(width);
  }
  version = kApiVersion;
  GetName = [](const OrtCustomOp* op) { return of(op).name.c_str(); };
  GetExecutionProviderType = [](const OrtCustomOp* op) -> const char* {
    return of(op).cuda ? "CUDAExecutionProvider" : nullptr;
  };
  GetInputTypeCount = [](const OrtCustomOp* op) { return of(op).inputs(); };
  GetInputType = [](const OrtCustomOp* op, size_t index) { return of(op).input_type(index); };
  GetOutputTypeCount = [](const OrtCustomOp*) -> size_t { return 1; };
  GetOutputType = [](const OrtCustomOp* op, size_t) { return of(op).value_type; };
  GetInputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
  GetOutputCharacteristic = GetInputCharacteristic;
  GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
  GetVariadicInputMinArity = GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 1; };
  GetVariadicInputHomogeneity = GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 1; };
  GetStartVersion = [](const OrtCustomOp*) { return 1; };
  GetEndVersion = [](const OrtCustomOp*) { return INT_MAX; };
  CreateKernelV2 = [](const OrtCustomOp* op, const OrtApi*, const OrtKernelInfo* info, void** kernel) {
    return guarded([&] { *kernel = new Kernel(of(op), info); });
  };
  KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
    return guarded([&] { static_cast<const Kernel*>(kernel)->compute(context); });
  };
  KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
}

// Made once, and kept as long as the library is loaded: sessions refer to it.
OrtCustomOpDomain* domain() {
  static std::deque<Op> ops;  // its elements stay where they are
  static OrtCustomOpDomain* const made = [] {
    constexpr auto kFloat = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, kHalf = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    std::vector<Kind> kinds;
    for (int bits = 0; bits <= 8; ++bits) kinds.push_back({bits});
    const size_t on_cuda = kinds.size();  // of the others the CUDA provider runs the body
    for (const int bits : {1, 2, 4}) {
      for (int window = bits; window <= bits + kMostShared; ++window) {
        kinds.push_back({bits, window});
        kinds.push_back({bits, window, true});
      }
    }
    for (const int bits : {3, 5, 6, 7}) {
      for (int window = kFirstWindow; window <= kLastWindow; ++window) kinds.push_back({bits, window});
    }
    for (size_t i = 0, plain = kinds.size(); i < plain; ++i) {
      for (const Scaled scaled : {Scaled::kByNumbers, Scaled::kByCodes}) {
        Kind made = kinds[i];
        made.scaled = scaled;
        kinds.push_back(made);
      }
    }
    for (const bool cuda : kProviders) {
      for (const auto id : {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64}) {
        ops.emplace_back(Kind{}, kHalf, id, cuda);
        for (size_t i = 0; i < (cuda ? on_cuda : kinds.size()); ++i) ops.emplace_back(kinds[i], kFloat, id, cuda);
      }
    }
    OrtCustomOpDomain* domain = nullptr;
    check(api->CreateCustomOpDomain(kDomain, &domain));
    for (const Op& op : ops) check(api->CustomOpDomain_Add(domain, &op));
    return domain;
  }();
  return made;
}

}  // namespace
}  // namespace eigenselect

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               const OrtApiBase* base) {
  using namespace eigenselect;
  api = base->GetApi(kApiVersion);
  if (api == nullptr) return base->GetApi(1)->CreateStatus(ORT_FAIL, "ONNX Runtime 1.17 or later is needed");
  return guarded([&] { check(api->AddCustomOpDomain(options, domain())); });
}
