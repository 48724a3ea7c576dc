"""SavedModels that are spoilt: files taken apart and put together with lies in them.

The format: `saved_model.pb` holds a message; `variables/variables.index` is one of LevelDB's tables (`table_format.txt`
of LevelDB) that says where in `variables/variables.data-00000-of-00001` each variable lies.
"""

import os
import shutil

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from tensorflow.core.framework import function_pb2, graph_pb2, node_def_pb2
from tensorflow.core.protobuf import saved_model_pb2, tensor_bundle_pb2

MESSAGE = "saved_model.pb"
INDEX = "variables/variables.index"
SHARD = "variables/variables.data-00000-of-00001"
FLOAT, INT32 = tf.float32.as_datatype_enum, tf.int32.as_datatype_enum

FOOTER, TRAILER, MAGIC = 48, 5, bytes.fromhex("57fb808b247547db")


def copy(source, target, **changes):
    """A SavedModel with some files changed: `message`, `index` or `shard` is a function of the old bytes, or None to
    leave that file out."""
    shutil.copytree(source, target)
    for file, name in (("message", MESSAGE), ("index", INDEX), ("shard", SHARD)):
        if file in changes:
            path = target / name
            content = path.read_bytes()
            path.unlink()
            if changes[file] is not None:
                path.write_bytes(changes[file](content))
    return target


# Tables


def crc32c(content):
    crc = 0xFFFFFFFF
    for byte in content:
        crc = CRC[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def crc_of_byte(byte):
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


CRC = [crc_of_byte(byte) for byte in range(256)]


def masked(content):
    crc = crc32c(content)
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def varint(number):
    content = bytearray()
    while number > 0x7F:
        content.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*content, number])


def read_varint(content, at):
    value = shift = 0
    while True:
        value |= (content[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if content[at - 1] < 0x80:
            return value, at


def read_handle(content, at=0):
    offset, at = read_varint(content, at)
    size, at = read_varint(content, at)
    return (offset, size), at


def read_block(file, handle):
    """A block's entries: key and value."""
    offset, size = handle
    block = file[offset : offset + size]
    end = size - 4 - 4 * int.from_bytes(block[-4:], "little")
    at, key, entries = 0, b"", []
    while at < end:
        shared, at = read_varint(block, at)
        suffix, at = read_varint(block, at)
        length, at = read_varint(block, at)
        key = key[:shared] + block[at : at + suffix]
        entries.append((key, block[at + suffix : at + suffix + length]))
        at += suffix + length
    return entries


def blocks(file):
    """Places of all blocks: that of notes, the index, those of data."""
    notes, at = read_handle(file, len(file) - FOOTER)
    index, _ = read_handle(file, at)
    return [notes, index, *(read_handle(value)[0] for _, value in read_block(file, index))]


def resealed(file, places):
    """The file with the checksums that its blocks should have."""
    file = bytearray(file)
    for offset, size in places:
        file[offset + size + 1 : offset + size + TRAILER] = masked(file[offset : offset + size + 1])
    return bytes(file)


def entries_of(file):
    return [entry for place in blocks(file)[2:] for entry in read_block(file, place)]


def table(entries):
    """A table of one block of data."""
    file = bytearray()

    def add(entries):
        content = b"".join(varint(0) + varint(len(k)) + varint(len(v)) + k + v for k, v in entries)
        content += bytes(4) + (1).to_bytes(4, "little")
        handle = varint(len(file)) + varint(len(content))
        file.extend(content + b"\0" + masked(content + b"\0"))
        return handle

    data, notes = add(entries), add([])
    index = add([(entries[-1][0] + b"\xff", data)])
    return bytes(file) + (notes + index).ljust(FOOTER - len(MAGIC), b"\0") + MAGIC


def with_entry(change):
    """A change of the index: `change` edits the header and the entry of each variable of real numbers."""

    def edit(file):
        entries = dict(entries_of(file))
        header = tensor_bundle_pb2.BundleHeaderProto.FromString(entries[b""])
        of = {k: tensor_bundle_pb2.BundleEntryProto.FromString(v) for k, v in entries.items() if k}
        for entry in of.values():
            if entry.dtype == FLOAT:
                change(header, entry)
        entries = {b"": header, **of}
        return table(sorted((key, message.SerializeToString()) for key, message in entries.items()))

    return edit


# Messages


def node(name, op, *inputs, **attributes):
    """A node; an attribute is a type, a shape, a tensor, or `("func", name)`."""
    made = node_def_pb2.NodeDef(name=name, op=op, input=inputs)
    for key, value in attributes.items():
        if isinstance(value, tuple):
            made.attr[key].func.name = value[1]
        elif isinstance(value, int):
            made.attr[key].type = value
        elif isinstance(value, list):
            made.attr[key].shape.CopyFrom(tf.TensorShape(value).as_proto())
        else:
            made.attr[key].tensor.CopyFrom(value)
    return made


def splat(shape, dtype=FLOAT):
    """A tensor of one repeated number."""
    tensor = tf.make_tensor_proto(1.0 if dtype == FLOAT else 1, tf.as_dtype(dtype))
    tensor.tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    return tensor


def function(name, body, result):
    """A function of a tensor `x`."""
    made = function_pb2.FunctionDef()
    made.signature.name = name
    made.signature.input_arg.add(name="x", type=FLOAT)
    made.signature.output_arg.add(name="y", type=FLOAT)
    made.node_def.extend(body)
    made.ret["y"] = result
    return made


def call(name, called, argument):
    made = node(name, "PartitionedCall", argument, f=("func", called))
    for key in ("Tin", "Tout"):
        made.attr[key].list.type.append(FLOAT)
    return made


def graph(body, functions=()):
    """A graph from a placeholder `x` of shape [1, 4]."""
    made = graph_pb2.GraphDef()
    made.versions.producer = 1882
    made.node.add().CopyFrom(node("x", "Placeholder", dtype=FLOAT, shape=[1, 4]))
    made.node.extend(body)
    made.library.function.extend(functions)
    return made


def saved(folder, graph, output):
    """A SavedModel without variables that gives this tensor of the graph."""
    model = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    meta = model.meta_graphs.add()
    meta.meta_info_def.tags.append("serve")
    meta.graph_def.CopyFrom(graph)
    signature = meta.signature_def["serving_default"]
    for info, name in ((signature.inputs["x"], "x:0"), (signature.outputs["y"], output)):
        info.name, info.dtype = name, FLOAT
    signature.inputs["x"].tensor_shape.CopyFrom(tf.TensorShape([1, 4]).as_proto())
    signature.outputs["y"].tensor_shape.unknown_rank = True
    signature.method_name = "tensorflow/serving/predict"
    folder.mkdir()
    (folder / MESSAGE).write_bytes(model.SerializeToString())
    return folder


def calling(functions):
    """A graph that calls the first of the functions."""
    return graph([call("first", functions[0].signature.name, "x")], functions)


def hostile_graphs():
    """Graphs that contradict themselves or ask for too much, each with the tensor that it gives."""

    def add(name, a, b):
        return node(name, "AddV2", a, b, T=FLOAT)

    itself = function("f", [call("again", "f", "x")], "again:output:0")
    yield "function that calls itself", calling([itself]), "first:0"
    ring = [function(f"f{i}", [call("next", f"f{(i + 1) % 3}", "x")], "next:output:0") for i in range(3)]
    yield "functions that call each other", calling(ring), "first:0"

    def twice(i):
        return function(f"f{i}", [call("a", f"f{i + 1}", "x"), call("b", f"f{i + 1}", "a:output:0")], "b:output:0")

    last = function("f40", [add("z", "x", "x")], "z:z:0")
    yield "calls doubled 40 times", calling([*map(twice, range(40)), last]), "first:0"
    chain = [function(f"f{i}", [call("a", f"f{i + 1}", "x")], "a:output:0") for i in range(5000)]
    yield "5000 nested calls", calling([*chain, function("f5000", [add("z", "x", "x")], "z:z:0")]), "first:0"
    yield "missing function", graph([call("first", "nowhere", "x")]), "first:0"
    yield "node that reads itself", graph([add("y", "x", "y")]), "y:0"
    yield "nodes that read each other", graph([add("a", "x", "b"), add("b", "x", "a")]), "b:0"
    yield "missing input", graph([add("y", "x", "nowhere")]), "y:0"
    yield "missing output", graph([add("y", "x", "x")]), "y:7"
    yield "two nodes of one name", graph([add("y", "x", "x"), add("y", "x", "x")]), "y:0"

    def constant(name, tensor):
        return node(name, "Const", dtype=tensor.dtype, value=tensor)

    for size in ([1 << 20, 1 << 20], [1 << 62, 1 << 62], [1 << 30, 4], [-5, 4]):
        tensor = splat([4])
        del tensor.tensor_shape.dim[:]
        for length in size:
            tensor.tensor_shape.dim.add(size=length)
        yield f"constant of one number for {size}", graph([constant("c", tensor), add("y", "x", "c")]), "y:0"
    many = [constant(f"c{i}", splat([1 << 22, 4])) for i in range(100)]
    sums = [add(f"y{i}", f"y{i - 1}" if i else "x", f"c{i}") for i in range(100)]
    yield "100 constants of one number for 64 MB", graph([*many, *sums]), "y99:0"
    short = tf.make_tensor_proto(tf.zeros([4]))
    short.tensor_content = short.tensor_content[:-3]
    yield "constant with too few bytes", graph([constant("c", short), add("y", "x", "c")]), "y:0"

    sizes = constant("sizes", tf.make_tensor_proto([1 << 20, 1 << 20], tf.int32))
    one = constant("one", tf.make_tensor_proto(1.0))
    fill = node("big", "Fill", "sizes", "one", T=FLOAT, index_type=INT32)
    mean = node("y", "Mean", "big", "axes", T=FLOAT, Tidx=INT32)
    axes = constant("axes", tf.make_tensor_proto([0], tf.int32))
    yield "filled to 2^40 elements", graph([sizes, one, axes, fill, mean]), "y:0"
    tile = node("big", "Tile", "x", "sizes", T=FLOAT, Tmultiples=INT32)
    yield "repeated 2^40 times", graph([sizes, tile]), "big:0"
    numbers = [constant(n, tf.make_tensor_proto(v, tf.int32)) for n, v in (("a", 0), ("b", 2**31 - 1), ("c", 1))]
    count = [node("r", "Range", "a", "b", "c", Tidx=INT32), node("f", "Cast", "r", SrcT=INT32, DstT=FLOAT)]
    total = node("y", "Mean", "f", "axes", T=FLOAT, Tidx=INT32)
    yield "counted to 2^31", graph([*numbers, *count, axes, total]), "y:0"
