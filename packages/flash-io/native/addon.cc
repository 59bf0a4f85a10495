#include <node_api.h>

#include "crc32c.h"

namespace {

/** crc32c(bytes, crc): number */
napi_value Crc32c(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  uint32_t crc = 0;
  if (napi_get_typedarray_info(env, arguments[0], &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_uint8_array || napi_get_value_uint32(env, arguments[1], &crc) != napi_ok) {
    napi_throw_type_error(env, nullptr, "crc32c expects a Uint8Array and a number");
    return nullptr;
  }
  napi_value result;
  napi_create_uint32(env, flash_io::crc32c(crc, static_cast<const uint8_t*>(data), length), &result);
  return result;
}

}  // namespace

NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "crc32c", NAPI_AUTO_LENGTH, Crc32c, nullptr, &function);
  napi_set_named_property(env, exports, "crc32c", function);
  napi_value method;
  napi_create_string_utf8(env, flash_io::crc32c_method(), NAPI_AUTO_LENGTH, &method);
  napi_set_named_property(env, exports, "crc32cMethod", method);
  return exports;
}
