#include <node_api.h>

#include "crc32c.h"
#include "napi_values.h"
#include "reader_handle.h"

namespace flash_io {
namespace {

/** crc32c(bytes, crc): number */
napi_value Crc32c(napi_env env, const Arguments& arguments) {
  size_t length = 0;
  const uint8_t* const data = arguments.elements<uint8_t>(0, napi_uint8_array, 0, &length);
  return to_value(env, crc32c(arguments.number(1), data, length));
}

void CleanUp(void* handle) { static_cast<ReaderHandle*>(handle)->close(); }

void Finalize(napi_env env, void* handle, void*) {
  napi_remove_env_cleanup_hook(env, CleanUp, handle);
  delete static_cast<ReaderHandle*>(handle);
}

void set(napi_env env, napi_value object, const char* name, napi_value value) {
  napi_set_named_property(env, object, name, value);
}

/** Opens files one after the other; the index of the first that cannot be opened, or -1. */
int32_t open_files(napi_env env, const Arguments& arguments, ReaderHandle& handle, OpenFault& fault) {
  uint32_t count = 0;
  napi_get_array_length(env, arguments.value(0), &count);
  for (uint32_t index = 0; index < count; index++) {
    napi_value path;
    napi_get_element(env, arguments.value(0), index, &path);
    File file;
    if (!open_file(arguments.text_of(path), static_cast<DirectIo>(arguments.number(1)), file, fault)) {
      return static_cast<int32_t>(index);
    }
    handle.files().push_back(file);
  }
  return -1;
}

napi_value describe_file(napi_env env, const File& file) {
  napi_value result;
  napi_create_object(env, &result);
  set(env, result, "sizeBytes", to_value(env, static_cast<double>(file.size)));
  set(env, result, "alignmentBytes", to_value(env, file.alignment));
  set(env, result, "note", to_value(env, file.note));
  return result;
}

/**
 * open(paths, directIo, backend, inFlightMax, awakeUs, onProgress):
 * { handle, files } | { refusal } | { faultIndex, message, errno }
 */
napi_value Open(napi_env env, const Arguments& arguments) {
  auto handle = std::make_unique<ReaderHandle>(env);
  napi_value result;
  napi_create_object(env, &result);
  OpenFault fault;
  const int32_t fault_index = open_files(env, arguments, *handle, fault);
  if (fault_index >= 0) {
    set(env, result, "faultIndex", to_value(env, fault_index));
    set(env, result, "message", to_value(env, fault.message));
    set(env, result, "errno", to_value(env, -fault.error));
    return result;
  }
  std::string refusal;
  try {
    handle->start(arguments.text(2), arguments.number(3), arguments.number(4), arguments.value(5), refusal);
  } catch (const std::exception& error) {
    refusal = error.what();
  }
  if (!refusal.empty()) {
    set(env, result, "refusal", to_value(env, refusal));
    return result;
  }
  napi_value files;
  napi_create_array(env, &files);
  uint32_t index = 0;
  for (const File& file : handle->files()) napi_set_element(env, files, index++, describe_file(env, file));
  set(env, result, "files", files);
  ReaderHandle* const owned = handle.release();
  napi_value external;
  napi_create_external(env, owned, Finalize, nullptr, &external);
  napi_add_env_cleanup_hook(env, CleanUp, owned);
  set(env, result, "handle", external);
  return result;
}

/** attach(handle, arenaId, bytes, isFresh): fresh memory is untouched and its reader's own. */
napi_value Attach(napi_env, const Arguments& arguments) {
  Arena arena;
  arena.bytes = arguments.elements<uint8_t>(2, napi_uint8_array, 0, &arena.length);
  arguments.external<ReaderHandle>(0)->attach(arguments.number(1), arguments.value(2), arena, arguments.boolean(3));
  return nullptr;
}

/** submit(handle, batchId, isDemand, count, fileIndex, offsetBytes, lengthBytes, targetArenaId, targetOffsetBytes): number */
napi_value Submit(napi_env env, const Arguments& arguments) {
  const size_t count = arguments.number(3);
  const BatchArrays batch{count,
                          arguments.elements<uint32_t>(4, napi_uint32_array, count),
                          arguments.elements<double>(5, napi_float64_array, count),
                          arguments.elements<double>(6, napi_float64_array, count),
                          arguments.elements<uint32_t>(7, napi_uint32_array, count),
                          arguments.elements<double>(8, napi_float64_array, count)};
  const int64_t refused =
      arguments.external<ReaderHandle>(0)->submit(batch, arguments.number(1), arguments.boolean(2));
  return to_value(env, static_cast<double>(refused));
}

/** collect(handle, pairs, waitFor): number */
napi_value Collect(napi_env env, const Arguments& arguments) {
  size_t length = 0;
  uint32_t* const pairs = arguments.elements<uint32_t>(1, napi_uint32_array, 2, &length);
  const size_t count = arguments.external<ReaderHandle>(0)->collect(pairs, length / 2, arguments.number(2));
  return to_value(env, static_cast<double>(count));
}

/** takeFailure(handle, fields): boolean */
napi_value TakeFailure(napi_env env, const Arguments& arguments) {
  double* const fields = arguments.elements<double>(1, napi_float64_array, 6);
  napi_value result;
  napi_get_boolean(env, arguments.external<ReaderHandle>(0)->take_failure(fields), &result);
  return result;
}

/** cancel(handle, batchId); batch 0xffffffff stands for all */
napi_value Cancel(napi_env, const Arguments& arguments) {
  arguments.external<ReaderHandle>(0)->backend()->cancel(arguments.number(1));
  return nullptr;
}

/** watch(handle, on) */
napi_value Watch(napi_env, const Arguments& arguments) {
  arguments.external<ReaderHandle>(0)->watch(arguments.boolean(1));
  return nullptr;
}

/** stats(handle, counters): writes requestCount and readBytes */
napi_value GetStats(napi_env, const Arguments& arguments) {
  double* const counters = arguments.elements<double>(1, napi_float64_array, 2);
  const Stats stats = arguments.external<ReaderHandle>(0)->backend()->stats();
  counters[0] = static_cast<double>(stats.request_count);
  counters[1] = static_cast<double>(stats.read_bytes);
  return nullptr;
}

/** close(handle) */
napi_value Close(napi_env, const Arguments& arguments) {
  arguments.external<ReaderHandle>(0)->close();
  return nullptr;
}

template <napi_value (*kFunction)(napi_env, const Arguments&)>
void expose(napi_env env, napi_value exports, const char* name) {
  napi_value function;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, guarded<kFunction>, nullptr, &function);
  set(env, exports, name, function);
}

}  // namespace
}  // namespace flash_io

NAPI_MODULE_INIT() {
  using namespace flash_io;
  expose<Crc32c>(env, exports, "crc32c");
  expose<Open>(env, exports, "open");
  expose<Attach>(env, exports, "attach");
  expose<Submit>(env, exports, "submit");
  expose<Collect>(env, exports, "collect");
  expose<TakeFailure>(env, exports, "takeFailure");
  expose<Cancel>(env, exports, "cancel");
  expose<Watch>(env, exports, "watch");
  expose<GetStats>(env, exports, "stats");
  expose<Close>(env, exports, "close");
  set(env, exports, "crc32cMethod", to_value(env, std::string(crc32c_method())));
  return exports;
}
