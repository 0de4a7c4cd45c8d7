"""What the interpreter knows of torch, the standard library and common helpers, as plain tables."""

from __future__ import annotations

import re

LOAD = frozenset({"torch.load", "torch.serialization.load"})

#: Calls that give a string or a path.
TEXT = frozenset(
    {
        "builtins.str",
        "builtins.input",
        "builtins.repr",
        "os.fspath",
        "os.getenv",
        "os.environ.get",
        "os.getcwd",
        "os.path.join",
        "os.path.abspath",
        "os.path.basename",
        "os.path.dirname",
        "os.path.expanduser",
        "os.path.expandvars",
        "os.path.normpath",
        "os.path.realpath",
        "os.path.relpath",
        "pathlib.Path",
        "pathlib.PurePath",
        "pathlib.PosixPath",
        "pathlib.Path.home",
        "pathlib.Path.cwd",
        "posixpath.join",
        "tempfile.mkdtemp",
        "tempfile.gettempdir",
        "tempfile.mktemp",
        "huggingface_hub.hf_hub_download",
        "huggingface_hub.snapshot_download",
        "huggingface_hub.cached_download",
        "transformers.utils.cached_file",
        "transformers.utils.hub.cached_file",
        "gdown.download",
        "gdown.cached_download",
        "wget.download",
        "torch.hub.get_dir",
        "kagglehub.dataset_download",
        "kagglehub.model_download",
        "pooch.retrieve",
    }
)
#: Calls that give an open file; `open` is what a path's own method is taken for.
FILES = frozenset(
    {"builtins.open", "open", "io.open", "io.BytesIO", "io.FileIO", "gzip.open", "bz2.open", "lzma.open"}
    | {"tempfile.NamedTemporaryFile", "tempfile.TemporaryFile", "tempfile.SpooledTemporaryFile"}
)
TEXT_COLLECTIONS = frozenset({"glob.glob", "glob.iglob", "os.listdir", "sys.argv"})
TEXT_ATTRIBUTES = frozenset({"sys.executable", "os.sep", "torch.__version__"})
TEXT_TYPES = frozenset(
    {
        "builtins.str",
        "os.PathLike",
        "pathlib.Path",
        "pathlib.PurePath",
        "pathlib.PosixPath",
        "typing.Text",
    }
)
#: Methods of strings and paths that give strings or paths again.
TEXT_METHODS = frozenset(
    {
        "absolute",
        "as_posix",
        "expanduser",
        "format",
        "format_map",
        "joinpath",
        "join",
        "lower",
        "lstrip",
        "read_text",
        "removeprefix",
        "removesuffix",
        "replace",
        "resolve",
        "rstrip",
        "strip",
        "upper",
        "with_name",
        "with_stem",
        "with_suffix",
    }
)
TEXT_LIST_METHODS = frozenset({"glob", "rglob", "iterdir", "split", "rsplit", "splitlines", "partition", "rpartition"})
TEXT_PROPERTIES = frozenset({"parent", "name", "stem", "suffix"})
#: Tests that only a path passes.
TEXT_TESTS = frozenset({"os.path.isfile", "os.path.exists", "os.path.isdir", "os.path.islink"})

#: Calls that give back the module they are given, wrapped at most: what is done to one is done to the other.
WRAPPERS = re.compile(
    r"torch\.(nn\.(parallel\.)?(DataParallel|DistributedDataParallel|data_parallel\.DataParallel"
    r"|distributed\.DistributedDataParallel)|compile|jit\.script|jit\.optimize_for_inference"
    r"|nn\.utils\.(parametrizations\.)?(remove_)?(weight_norm|spectral_norm|orthogonal)"
    r"|nn\.SyncBatchNorm\.convert_sync_batchnorm|distributed\.fsdp\.\w*FullyShardedDataParallel"
    r"|quantization\.\w+|ao\.quantization\.\w+)$"
)
#: Functions and methods of others that take the module out of its wrapper: what is done to one is done to the other.
UNWRAPPERS = frozenset({"unwrap_model", "extract_model_from_parallel", "get_module", "get_bare_model", "de_parallel"})
#: ... of the wrappers those that leave a layer what it is.
NORMALISERS = re.compile(r"torch\.nn\.utils\.(parametrizations\.)?(weight_norm|spectral_norm|orthogonal)$")
TRACERS = frozenset({"torch.jit.trace", "torch.func.functional_call", "torch.nn.utils.stateless.functional_call"})
COPIERS = frozenset({"copy.deepcopy", "copy.copy"})
WITHOUT_GRADIENTS = frozenset({"torch.no_grad", "torch.inference_mode", "torch.autograd.no_grad"})
EXITS = frozenset({"sys.exit", "builtins.exit", "builtins.quit", "os._exit"})
SAME_ELEMENTS = frozenset(
    {"builtins.list", "builtins.tuple", "builtins.set", "builtins.sorted", "builtins.reversed", "builtins.iter"}
)
ONE_ELEMENT = frozenset({"builtins.next", "builtins.max", "builtins.min", "random.choice"})

#: Functions that leave a module they are given in the mode it is in.
NEUTRAL = re.compile(
    r"(builtins|torch|torchvision|numpy|os|math|json|logging|sys|time|warnings|random|tqdm|collections|itertools"
    r"|torchsummary|matplotlib|PIL|cv2|pathlib|copy)(\.|$)"
)
#: ... and those among them that do not.
MODE_KEEPERS_EXCEPT = re.compile(
    r"torch\.(onnx|export|quantization|ao|utils\.mobile_optimizer|_dynamo)\.|builtins\.(getattr|setattr|map|filter|super)$"
)

#: Methods of a module that give the module back.
RETURNS_SELF = frozenset(
    {
        "apply",
        "bfloat16",
        "cpu",
        "cuda",
        "double",
        "float",
        "half",
        "ipu",
        "npu",
        "requires_grad_",
        "share_memory",
        "to",
        "to_empty",
        "type",
        "xpu",
        "mps",
        "hpu",
    }
)
SAME_MODULE = RETURNS_SELF | {"eval", "train"}
PART_METHODS = frozenset({"modules", "named_modules", "children", "named_children"})
WEIGHT_METHODS = frozenset({"parameters", "named_parameters", "trainable_parameters"})
#: Methods of tensors that neither modules nor pipelines, encodings and batches have.
ONLY_TENSORS = frozenset(
    {
        "argmax",
        "contiguous",
        "detach",
        "flatten",
        "item",
        "masked_fill",
        "masked_fill_",
        "numel",
        "permute",
        "repeat_interleave",
        "reshape",
        "softmax",
        "squeeze",
        "transpose",
        "unsqueeze",
        "view",
        "view_as",
    }
)
#: What libraries promise to be tensors under these names.
TENSOR_KEYS = frozenset(
    {"input_ids", "attention_mask", "token_type_ids", "pixel_values", "last_hidden_state", "pooler_output"}
)
PARAMETERS = frozenset({"torch.nn.Parameter", "torch.nn.parameter.Parameter"})
#: Methods that besides tensors only arrays and frames have, which cannot be moved to a device.
COMPUTES = frozenset(
    {
        "abs",
        "all",
        "any",
        "argmin",
        "argsort",
        "ceil",
        "clamp",
        "clip",
        "cumprod",
        "cumsum",
        "exp",
        "expand",
        "expand_as",
        "index_select",
        "masked_select",
        "matmul",
        "mean",
        "pow",
        "prod",
        "round",
        "sigmoid",
        "sqrt",
        "sum",
        "tanh",
        "unfold",
    }
)
#: Methods that run a module. Others may do anything, so they prove nothing.
INFERENCE = re.compile(
    r"(forward|generate|sample|embed|inference|infer|encode|decode|extract_features|forward_\w+|generate_\w+|sample_\w+"
    r"|encode_\w+|decode_\w+|reconstruct|transcribe|synthesize|greedy_decode|beam_search)$"
)
#: ... and those among them that nothing but a module has.
FORWARD = re.compile(r"(forward(_\w+)?|generate|inference|infer)$")
#: Factories whose modules are in evaluation mode already, or might be.
EVALUATED = re.compile(
    r"(^|\.)(from_pretrained|load_from_checkpoint|load_model\w*|from_\w*checkpoint|load_\w+|get_pretrained\w*"
    r"|TRTModule)$"  # a compiled engine, which has no training mode
)
#: Functions that load weights which somebody has published.
PUBLISHED = re.compile(r"(^|\.)(load_url|load_state_dict_from_url)$")
OPTIMIZERS = re.compile(
    r"torch\.optim\.(?!swa_utils\.Averaged)"
    r"|(^|\.)\w*(Adam\w*|SGD\w*|RMSprop|Adagrad|LBFGS|Lion|Adafactor|Optimizer)$"
)
OPTIMIZER_NAMES = re.compile(r"opt|adam|sgd|scaler|solver|engine", re.IGNORECASE)
TRAINERS = re.compile(r"(^|[._])(train|fit|finetune|fine_tune|backprop|learn|optimize|training)(_|$)|Trainer$")
#: Names of classes and objects whose own load_state_dict may well take a path.
NO_MODULE = re.compile(
    r"trainer|agent|runner|manager|handler|loader|checkpoint|ckpt|session|learner|solver|experiment|saver"
    r"|pipeline|pipe$|config|cfg|estimator|predictor|wrapper|helper|util|engine|engines|backend|storage|io$",
    re.IGNORECASE,
)
#: What stands for an object in a test, and takes whatever it is given.
MOCK = re.compile(r"(^|\.)(Magic|Async|NonCallable|NonCallableMagic)?Mock$|(^|\.)create_autospec$")
#: Classes of libraries that are modules.
MODULE = re.compile(
    r"torch\.nn\.(modules\.(\w+\.)?)?(?!Parameter$|Parameter\.|UninitializedParameter|Buffer$|UninitializedBuffer)[A-Z]\w*$"
    r"|torch_geometric\.nn\.(\w+\.)*[A-Z]\w*$"
    r"|torchvision\.ops\.(DeformConv2d|FrozenBatchNorm2d|MLP|Conv2dNormActivation|FeaturePyramidNetwork)$"
)
#: ... and base classes of frameworks that everybody subclasses.
BASE = re.compile(
    r"torch\.jit\.ScriptModule$"
    r"|(pytorch_lightning|lightning)\.(\w+\.)*LightningModule$"
    r"|(transformers|[\w.]*modeling_utils)\.(\w+\.)*PreTrainedModel$"
    r"|(diffusers|[\w.]*modeling_utils)\.(\w+\.)*ModelMixin$"
)
#: Modules without parameters, buffers or a mode: nothing is lost if nobody registers them.
STATELESS = re.compile(
    r"(\w*(ReLU|ELU|GELU|Tanh|Sigmoid|Softmax|Softmin|Softplus|Softshrink|Softsign|Hardtanh|Hardswish|Hardshrink|Tanhshrink"
    r"|SiLU|Mish|GLU|Loss|Threshold|Similarity|PairwiseDistance|Shuffle|Unshuffle)(2d)?"
    r"|(Adaptive)?(Max|Avg|LP|FractionalMax)Pool\dd|(Adaptive)?MaxUnpool\dd|\w*Pad\dd|Upsample\w*|Upsampling\w*|Fold|Unfold"
    r"|Identity|Flatten|Unflatten)$"
)
#: Classes whose load_state_dict is torch's own.
MODULES = frozenset(
    {
        "torch.nn.Module",
        "torch.nn.modules.Module",
        "torch.nn.modules.module.Module",
        "torch.nn.Sequential",
        "lightning.LightningModule",
        "lightning.pytorch.LightningModule",
        "pytorch_lightning.LightningModule",
    }
)
EXPECTS_ERROR = re.compile(r"(^|\.)(raises|assertRaises\w*|assert_raises\w*|warns|suppress)$")
#: Classes of serving frameworks, which hold a model and are none.
SERVERS = re.compile(r"(Handler|Predictor)$")
PLAIN_BASES = frozenset(
    {
        *("builtins.object", "abc.ABC", "typing.Generic", "typing.Protocol", "builtins.Exception", "enum.Enum"),
        *(
            "threading.Thread",
            "multiprocessing.Process",
            "torch.utils.data.Dataset",
            "torch.utils.data.IterableDataset",
        ),
    }
)
#: What makes a container that registers nothing of what it holds, and the methods that put something into one.
PLAIN_CONTAINERS = frozenset({"list", "dict", "tuple", "OrderedDict"})
ADDERS = frozenset({"append", "insert", "extend", "update", "add"})
#: Calls that register what they are given, and the attributes in which a module keeps what is registered.
REGISTERING = frozenset({"add_module", "register_module", "register_parameter", "setattr", "__setattr__"})
REGISTRIES = frozenset({"_modules", "__dict__"})
#: Methods by which a module says itself what its parts are.
TELLS_PARTS = frozenset(
    {"parameters", "named_parameters", "state_dict", "named_children", "_apply", "children", "modules"}
)
#: What a method mentions that makes layers or puts them somewhere. Others hand on what a module keeps, as to a function
#: that runs it.
BUILDING = frozenset(
    {
        "append",
        "extend",
        "insert",
        "ModuleList",
        "ModuleDict",
        "Sequential",
        "Linear",
        "Conv1d",
        "Conv2d",
        "Conv3d",
        "Parameter",
    }
)
