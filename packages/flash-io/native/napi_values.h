#pragma once
#include <node_api.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace flash_io {

/** Arguments of a call from JavaScript. Getters throw std::invalid_argument, which `guarded` turns into a TypeError. */
class Arguments {
 public:
  static constexpr size_t kMost = 10;
  Arguments(napi_env env, napi_callback_info info) : env_(env) {
    size_t count = kMost;
    check(napi_get_cb_info(env, info, &count, values_, nullptr, nullptr) == napi_ok, "arguments");
  }

  napi_value value(size_t index) const { return values_[index]; }

  uint32_t number(size_t index) const {
    uint32_t result;
    check(napi_get_value_uint32(env_, values_[index], &result) == napi_ok, "a number");
    return result;
  }

  bool boolean(size_t index) const {
    bool result;
    check(napi_get_value_bool(env_, values_[index], &result) == napi_ok, "a boolean");
    return result;
  }

  std::string text(size_t index) const { return text_of(values_[index]); }

  std::string text_of(napi_value value) const {
    size_t length = 0;
    check(napi_get_value_string_utf8(env_, value, nullptr, 0, &length) == napi_ok, "a string");
    std::string result(length, '\0');
    napi_get_value_string_utf8(env_, value, result.data(), length + 1, &length);
    return result;
  }

  template <typename Pointer>
  Pointer* external(size_t index) const {
    void* result = nullptr;
    check(napi_get_value_external(env_, values_[index], &result) == napi_ok, "a reader");
    return static_cast<Pointer*>(result);
  }

  /** The elements of a typed array with at least `least` of them. */
  template <typename Element>
  Element* elements(size_t index, napi_typedarray_type wanted, size_t least, size_t* length = nullptr) const {
    napi_typedarray_type type;
    size_t count = 0;
    void* data = nullptr;
    check(napi_get_typedarray_info(env_, values_[index], &type, &count, &data, nullptr, nullptr) == napi_ok &&
              type == wanted && count >= least,
          "a typed array");
    if (length != nullptr) *length = count;
    return static_cast<Element*>(data);
  }

 private:
  static void check(bool holds, const char* wanted) {
    if (!holds) throw std::invalid_argument(std::string("expected ") + wanted);
  }

  napi_env env_;
  napi_value values_[kMost];
};

inline napi_value to_value(napi_env env, double number) {
  napi_value result;
  napi_create_double(env, number, &result);
  return result;
}

inline napi_value to_value(napi_env env, const std::string& text) {
  napi_value result;
  napi_create_string_utf8(env, text.data(), text.size(), &result);
  return result;
}

/** No exception of C++ may cross into JavaScript's frames. */
template <napi_value (*kFunction)(napi_env, const Arguments&)>
napi_value guarded(napi_env env, napi_callback_info info) {
  try {
    return kFunction(env, Arguments(env, info));
  } catch (const std::invalid_argument& fault) {
    napi_throw_type_error(env, nullptr, fault.what());
  } catch (const std::exception& fault) {
    napi_throw_error(env, nullptr, fault.what());
  }
  return nullptr;
}

}  // namespace flash_io
