// What one call of an op is given, and the two ways to run it.
#pragma once

#include <cstdint>

namespace eigenselect {

constexpr int kMaxPlanes = 3;

// Rows of bytes, each of which picks `values` values of a lookup table.
struct Plane {
  const uint8_t* packed;  // (n, width)
  int64_t width;
  const void* lut;  // (256, values), float32 or float16
  int64_t values;
};

// Rows `ids` of the table: the sum, in order, of `planes` planes; or, where `bits` is not 0, (code * step - *zero_point)
// * *scale of codes of `bits` bits, value j of byte i being column j * width + i.
struct Call {
  Plane plane[kMaxPlanes];
  int planes;
  int bits;
  int64_t step;
  const float* scale;
  const uint8_t* zero_point;
  bool half;  // lookup tables and output are float16
  const void* ids;
  bool wide_ids;  // int64 rather than int32
  int64_t count;  // of ids
  int64_t n;      // rows of the table
  int64_t dim;    // columns of the output
  void* out;      // (count, dim)
};

// Rows first..last-1 of the output, on this thread. `rows` are all the ids, from 0 to n-1.
void decode(const Call& call, const int64_t* rows, int64_t first, int64_t last);

// All rows, on a CUDA stream; every pointer of the call is the device's. Gives the error's text, or null.
// A kernel cannot raise: an id outside of -n..n-1 gives a row of zeros, as in ONNX Runtime's own CUDA Gather.
const char* decode_on_cuda(const Call& call, void* stream);

}  // namespace eigenselect
