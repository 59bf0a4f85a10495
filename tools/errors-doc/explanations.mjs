/** Per area: title and, per code, when it comes and what to do. Order is that of the page. */
export const AREAS = [
  {
    title: "Reading from flash",
    codes: {
      FLASH_SHORT_READ: [
        "The device returned fewer bytes than were asked for.",
        "The file was cut off while it was open. Make the bundle again.",
      ],
      FLASH_OUT_OF_RANGE: [
        "An extent ends outside its file, or a target outside its arena.",
        "A fault of the caller: check offsets against `sizeBytes`.",
      ],
      FLASH_UNALIGNED: [
        "An offset, length or target is not a multiple of what the reader needs.",
        "Use memory from `allocateTarget`, or a reader with `alignmentBytes` 1.",
      ],
      FLASH_CLOSED: [
        "A call on a reader that was closed.",
        "Keep the reader open until all work on it has ended.",
      ],
      FLASH_ABORTED: [
        "A read was given up before it started.",
        "Expected after `cancel` or an abort signal.",
      ],
      FLASH_IO: [
        "The operating system reported a read error.",
        "The message carries its code. Check the disk and its cable or mount.",
      ],
      FLASH_OPEN: ["A file could not be opened.", "Check that the path exists and that you may read it."],
      FLASH_BACKEND: [
        "The way of reading that was asked for does not work on this machine.",
        "The message says why, and what each other way says. Ask for `auto`, or do what the reason names.",
      ],
      FLASH_MEASURE: [
        "A device cannot be measured with the file or the options given.",
        "Name a folder on the device, or a file as large as the message says.",
      ],
      FLASH_DISK_FULL: [
        "There is no room for the file that a measurement reads.",
        "Free the space that the message names, or name a large file on that device; it is only read.",
      ],
      FLASH_PROFILE_FORMAT: [
        "A saved device profile is damaged.",
        "Measure again with `flashlm device`; until then defaults are used.",
      ],
      FLASH_PROFILE_VERSION: [
        "A device profile was written by another version of flashlm.",
        "Measure again with `flashlm device`.",
      ],
    },
  },
  {
    title: "Checkpoints",
    codes: {
      CHECKPOINT_NOT_FOUND: [
        "No GGUF file and no folder with `config.json` at the path.",
        "Check the path; `flashlm pull` fetches a checkpoint.",
      ],
      CHECKPOINT_FORMAT: [
        "The file is not what its name says, or its header contradicts itself.",
        "Fetch it again; if it stays so, report it.",
      ],
      CHECKPOINT_TRUNCATED: [
        "The file is shorter than its header says.",
        "The download was cut off: fetch it again.",
      ],
      CHECKPOINT_LIMIT: [
        "A count or a length in the header is above what any real checkpoint has.",
        "The file is damaged or hostile; do not use it.",
      ],
      CHECKPOINT_MISSING_SHARD: [
        "A file that the index of the checkpoint names is not there.",
        "Fetch the file that the message names.",
      ],
      CHECKPOINT_MISSING_TENSOR: [
        "A tensor that the model needs is not in the checkpoint.",
        "The checkpoint is incomplete, or of another architecture than it says.",
      ],
      CHECKPOINT_SHAPE: [
        "A tensor's shape contradicts the configuration.",
        "The checkpoint's parts do not belong together.",
      ],
      CHECKPOINT_DTYPE: [
        "A tensor's type is not one that can be read.",
        "Use a checkpoint in one of the types that the message lists.",
      ],
      CHECKPOINT_UNSUPPORTED: [
        "The architecture, or a feature of it, is not supported.",
        "The message names it; see the list of families in the guide.",
      ],
    },
  },
  {
    title: "Tokenizer",
    codes: {
      TOKENIZER_FORMAT: ["The tokenizer's files are damaged or contradict themselves.", "Fetch them again."],
      TOKENIZER_UNSUPPORTED: [
        "The tokenizer is of a kind that is not supported.",
        "The message names it; use another checkpoint of the model.",
      ],
    },
  },
  {
    title: "Bundles",
    codes: {
      BUNDLE_NOT_FOUND: [
        "The folder is not a bundle: it has no `bundle.json`.",
        "Check the path, or make a bundle from the checkpoint.",
      ],
      BUNDLE_FORMAT: ["A file of the bundle does not follow the format.", "Make the bundle again."],
      BUNDLE_VERSION: [
        "The bundle was written for another version of the format.",
        "Make it again with this version, or use the version that wrote it.",
      ],
      BUNDLE_LIMIT: [
        "A count or a length is above what any real bundle has.",
        "The bundle is damaged or hostile; do not use it.",
      ],
      BUNDLE_TRUNCATED: [
        "A file is shorter than the manifest says.",
        "The copy was cut off: copy or make the bundle again.",
      ],
      BUNDLE_CHECKSUM: [
        "Bytes read from flash do not match their CRC32C.",
        "The disk returned other bytes than were written. Make the bundle again and check the disk.",
      ],
      BUNDLE_UNKNOWN_TENSOR: [
        "A tensor was asked for that the bundle does not have.",
        "A fault of the caller: ask `hasTensor` first.",
      ],
      BUNDLE_DTYPE: [
        "The bundle's type is not one that this build reads or writes.",
        "Use one of the types that the message lists.",
      ],
      BUNDLE_WRITE: [
        "The bundle could not be written.",
        "Free some space or check your rights on the folder. Nothing half-written is left under the final name.",
      ],
      BUNDLE_BUSY: [
        "Another process is writing this bundle.",
        "Wait for it to end, or remove the lock that the message names if none is running.",
      ],
    },
  },
  {
    title: "Synthetic models",
    codes: {
      SYNTHETIC_OPTION: [
        "A preset, format, dtype or seed does not exist or does not fit the others.",
        "The message says what is possible.",
      ],
      SYNTHETIC_WRITE: ["The folder for a synthetic model exists.", "Choose another folder, or remove it."],
    },
  },
  {
    title: "Kernels",
    codes: {
      KERNEL_NOT_SUPPORTED: [
        "The kernel target has no such operation for this type.",
        "Choose another target, or a bundle in another dtype.",
      ],
      KERNEL_SHAPE: [
        "Operands whose shapes do not fit each other.",
        "A fault of the caller; the message names both shapes.",
      ],
      KERNEL_MEMORY: [
        "The target cannot give as much memory as was asked for.",
        "Lower `--memory` or `--context`, or choose a target without that limit. Where one allocation is longer than a WASM memory of 4 GiB, use the native target.",
      ],
      KERNEL_LOAD: [
        "The target's code could not be loaded on this machine.",
        "The next target is used unless this one was asked for by name.",
      ],
    },
  },
  {
    title: "Predictors",
    codes: {
      PREDICTOR_SHAPE: [
        "Predictor tensors do not fit the model.",
        "The predictor belongs to another bundle: make the bundle again.",
      ],
      PREDICTOR_OPTION: ["An option of a predictor is outside its range.", "The message names the range."],
      PREDICTOR_NOT_AVAILABLE: [
        "The predictor needs tensors or an activation that this bundle does not have.",
        "Choose another predictor; `dense` always works.",
      ],
    },
  },
  {
    title: "Cache",
    codes: {
      CACHE_FULL: [
        "No slot can be given, because all are leased.",
        "A fault of the caller: release leases first.",
      ],
      CACHE_DUPLICATE_ID: [
        "Ids are not strictly ascending.",
        "A fault of the caller: sort them and remove duplicates.",
      ],
      CACHE_RANGE: ["An id or a layer outside the model.", "A fault of the caller."],
      CACHE_LEASED: ["The layer has an open lease already.", "A fault of the caller: release it first."],
      CACHE_CLOSED: ["A call on a cache that was closed.", "A fault of the caller."],
    },
  },
  {
    title: "Traces",
    codes: {
      TRACE_FORMAT: [
        "A file is no trace, or it is damaged or ends too early.",
        "Record it again with `flashlm run --trace FILE`, and let the run end by itself.",
      ],
      TRACE_LIMIT: ["A trace is too long to be replayed in memory.", "Record fewer tokens."],
    },
  },
  {
    title: "Memory",
    codes: {
      BUDGET_EXCEEDED: [
        "A reservation would exceed the limit.",
        "The message names the largest owners; raise the limit or shrink one of them.",
      ],
      BUDGET_TOO_SMALL: [
        "The limit is too small to run the model at all.",
        "The message says how much is needed. Raise `--memory` or lower `--context`.",
      ],
    },
  },
  {
    title: "Engine",
    codes: {
      ENGINE_BUSY: [
        "A generation is running, and an engine runs one at a time.",
        "Wait for it to end, or make another engine.",
      ],
      ENGINE_CLOSED: ["A call on an engine that was closed.", "Make a new one."],
      ENGINE_CONTEXT_FULL: [
        "The prompt and the tokens asked for do not fit the context.",
        "Shorten the prompt or raise `--context`.",
      ],
      ENGINE_OPTION: ["An option is outside its range.", "The message names the range."],
      ENGINE_CONTRACT: [
        "A part implements another version of its contract.",
        "Install parts of the same release.",
      ],
      ENGINE_ABORTED: ["The abort signal of a generation fired.", "Expected when you abort."],
      ENGINE_DRAFT: [
        "The draft model cannot propose tokens for this model: their vocabularies differ.",
        "Use a draft of the same family with the same tokenizer, or leave `--draft` out.",
      ],
    },
  },
];
