"""SavedModels and frozen graphs that are damaged, lie, or ask for more than there is."""

import shutil

import numpy as np

import damaged_saved_models
from trials import BROKEN, CHECK, FAILED, LIMIT, OK, UNSUPPORTED


def overwritten(content, place, new):
    return content[:place] + new + content[place + len(new) :]


def spoilt_saved_models(trials, files):
    """Each file of a SavedModel cut, emptied, taken away, overwritten."""
    files_of = {"message": damaged_saved_models.MESSAGE, "index": damaged_saved_models.INDEX,
                "shard": damaged_saved_models.SHARD}  # fmt: skip
    for file, name in files_of.items():
        content = (files.saved / name).read_bytes()
        for share in (0, 0.001, 0.1, 0.5, 0.9, 0.99, 1):
            kept = min(int(share * len(content)), len(content) - 1)
            # A message may end after any of its fields: less of a model is another model.
            codes = (UNSUPPORTED, BROKEN) if file == "message" else BROKEN
            cut = files.damaged(**{file: lambda content, kept=kept: content[:kept]})
            trials.convert(f"SavedModel: {file} cut to {kept} of {len(content)}", cut, codes=codes)
        trials.convert(f"SavedModel: {file} is missing", files.damaged(**{file: None}), codes=BROKEN)
        folder = files.damaged(**{file: None})
        (folder / name).mkdir()
        trials.convert(f"SavedModel: {file} is a folder", folder, codes=(FAILED, BROKEN))
        zeros = files.damaged(**{file: lambda content: bytes(len(content))})
        trials.convert(f"SavedModel: {file} of zeros", zeros, codes=BROKEN)
    folder = files.damaged()
    shutil.rmtree(folder / "variables")
    trials.convert("SavedModel: no folder of variables", folder, codes=BROKEN)

    random = np.random.default_rng(11)
    for file, name in files_of.items():
        size = (files.saved / name).stat().st_size
        # What is hit may be padding, a note, or a variable of the training, which nothing depends on.
        for place in random.integers(0, size - 4, 24).tolist():
            for number in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"):
                spoilt = files.damaged(**{file: lambda content, p=place, n=number: overwritten(content, p, n)})
                name = f"SavedModel: {file} byte {place} {number.hex()}"
                trials.convert(name, spoilt, codes=(OK, UNSUPPORTED, BROKEN))
                shutil.rmtree(spoilt)
    content = files.frozen.read_bytes()
    for share in (0, 0.001, 0.1, 0.5, 0.9, 0.99):
        kept = int(share * len(content))
        cut = files.write(content[:kept], ".pb")
        trials.convert(f"frozen graph cut to {kept} of {len(content)}", cut, codes=BROKEN)
    for place in random.integers(0, len(content) - 4, 24).tolist():
        spoilt = files.write(overwritten(content, place, b"\xff\xff\xff\xff"), ".pb")
        # There are no checksums: a weight may become so large that what is computed with it is no number.
        trials.convert(f"frozen graph byte {place}", spoilt, codes=(OK, UNSUPPORTED, CHECK, BROKEN))


def lying_tables(trials, files):
    """An index whose checksums are right and whose numbers are not."""

    def resealed(place, new):
        def edit(file):
            return damaged_saved_models.resealed(overwritten(file, place, new), damaged_saved_models.blocks(file))

        return edit

    def trial(name, index, codes=BROKEN, **how):
        trials.convert(f"table: {name}", files.damaged(index=index), codes=codes, **how)

    file = (files.saved / damaged_saved_models.INDEX).read_bytes()
    end = len(file) - damaged_saved_models.FOOTER
    random = np.random.default_rng(13)
    for place in random.integers(0, end, 40).tolist():
        for new in (b"\xff", b"\x7f", b"\x00"):
            trial(f"byte {place} becomes {new.hex()}", resealed(place, new), codes=(OK, UNSUPPORTED, BROKEN))
    # The first block is for notes, of which there are none.
    for offset, size in damaged_saved_models.blocks(file)[1:]:
        for number in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x40"):
            trial(f"block at {offset}: {number.hex()} restart points", resealed(offset + size - 4, number))
    for length in (1, 5, 10):
        trial(f"footer of {length} bytes ff", lambda file, n=length: overwritten(file, end, b"\xff" * n))

    def entry(name, change, **how):
        trial(name, damaged_saved_models.with_entry(change), **how)

    def shape(*sizes):
        def change(header, entry):
            del entry.shape.dim[:]
            for size in sizes:
                entry.shape.dim.add(size=size)

        return change

    def set_entry(field, value):
        return lambda header, entry: setattr(entry, field, value)

    entry("unchanged", lambda header, entry: None, codes=OK)
    for sizes in [(1 << 20, 1 << 20), (1 << 62, 1 << 62), (1 << 32, 1 << 32), (-1,), (-(1 << 63), 2), (0,), ()]:
        entry(f"variable of shape {sizes}", shape(*sizes))
    entry("variable of 300 axes", shape(*[1] * 300))
    for field, value in [("size", 1 << 40), ("size", (1 << 63) - 1), ("size", -1), ("size", 0), ("offset", 1 << 40),
                         ("offset", (1 << 63) - 1), ("offset", -8), ("offset", 4), ("shard_id", 7), ("shard_id", -1),
                         ("crc32c", 1), ("dtype", 99)]:  # fmt: skip
        entry(f"variable with {field} {value}", set_entry(field, value), codes=BROKEN)
    for dtype in (7, 8):
        entry(f"variable of type {dtype}", set_entry("dtype", dtype), codes=(UNSUPPORTED, BROKEN))
    for count in (0, -1):
        entry(f"{count} shards", lambda header, entry, n=count: setattr(header, "num_shards", n))
    entry("2^31 - 1 shards", lambda header, entry: setattr(header, "num_shards", 2**31 - 1), codes=(OK, BROKEN))

    def too_large(header, entry):
        shape(1 << 20, 1 << 20)(header, entry)
        entry.size = 4 << 40

    entry("variable larger than the file", too_large)


def hostile_graphs(trials, files):
    """Graphs that run in circles, multiply, or hold more than memory does, as a SavedModel and frozen."""
    for name, graph, output in damaged_saved_models.hostile_graphs():
        codes = (UNSUPPORTED, BROKEN, LIMIT)
        files.count += 1
        folder = damaged_saved_models.saved(files.folder / f"case-{files.count}", graph, output)
        trials.convert(f"graph: {name}", folder, codes=codes)
        trials.convert(f"graph: {name}, to ONNX", folder, codes=codes, output="out.onnx")
        # What nothing reads is the output of a frozen graph; here that may be another tensor.
        frozen = files.write(graph.SerializeToString(), ".pb")
        trials.convert(f"graph: {name}, frozen", frozen, codes=(*codes, OK))
