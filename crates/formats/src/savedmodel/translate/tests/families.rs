//! What operations become, family by family.

use super::{graph, model, operators};

#[test]
fn convolutions() {
    insta::assert_snapshot!(graph(
        "input x: f32[?,8,8,4]
         input u: f32[?,4,8,8]
         variable k: f32[3,3,4,6]
         variable g: f32[3,3,2,6]
         variable d: f32[3,3,4,2]
         variable t: f32[2,2,5,4]
         variable b: f32[6]
         shape = Const i32[4] 1,1,1,6
         b4 = Reshape(b, shape)
         b1 = Squeeze(b4)
         a = Conv2D(x, k) strides=[1,2,2,1] dilations=[1,1,1,1] padding=SAME
         a_bias = BiasAdd(a, b1)
         c = Conv2D(x, g) strides=[1,1,1,1] padding=EXPLICIT explicit_paddings=[0,0,1,2,3,4,0,0]
         e = Conv2D(u, k) strides=[1,1,2,2] padding=VALID data_format=NCHW
         e_bias = BiasAdd(e, b) data_format=NCHW
         f = DepthwiseConv2dNative(x, d) strides=[1,1,1,1] padding=SAME
         size = Const i32[4] 1,16,16,5
         one = Const i32[4] 1,8,8,4
         y = Reshape(x, one)
         h = Conv2DBackpropInput(size, t, y) strides=[1,2,2,1] padding=SAME
         output a_bias
         output c
         output e_bias
         output f
         output h"
    ));
}

#[test]
fn volumes_and_pools() {
    insta::assert_snapshot!(graph(
        "input x: f32[?,8,8,4]
         input v: f32[?,4,8,8,4]
         variable k: f32[2,2,2,2,6]
         a = Conv3D(v, k) strides=[1,1,2,2,1] padding=SAME
         b = MaxPool(x) ksize=[1,2,2,1] strides=[1,2,2,1] padding=VALID
         c = AvgPool(x) ksize=[1,3,3,1] strides=[1,1,1,1] padding=SAME
         d = MaxPool3D(v) ksize=[1,2,2,2,1] strides=[1,2,2,2,1] padding=VALID
         output a
         output b
         output c
         output d"
    ));
}

#[test]
fn products() {
    insta::assert_snapshot!(graph(
        "input x: f32[?,4]
         input s: f32[?,7,4]
         variable k: f32[4,3]
         variable b: f32[3]
         a = MatMul(x, k)
         a_bias = BiasAdd(a, b)
         c = BatchMatMulV2(s, s) adj_y=true
         d = BatchMatMulV2(s, k)
         e = Einsum(s, k) equation=abc,cd->abd
         f = MatMul(x, x) transpose_b=true
         output a_bias
         output c
         output d
         output e
         output f"
    ));
}

#[test]
fn a_dilated_convolution_of_a_sequence_is_one_of_an_image() {
    let source = "input x: f32[?,12,4]
         variable k: f32[3,4,6]
         variable b: f32[6]
         two = Const i32[1] 2
         pads = Const i32[1,2] 4,0
         none = Const i32[1,2] 0,0
         axis = Const i32[] -3
         first = Const i32[] 0
         blocks = SpaceToBatchND(x, two, pads)
         image = ExpandDims(blocks, axis)
         kernel = ExpandDims(k, first)
         made = Conv2D(image, kernel) strides=[1,1,1,1] padding=VALID
         rows = Squeeze(made) squeeze_dims=[-3]
         back = BatchToSpaceND(rows, two, none)
         y = BiasAdd(back, b)
         output y";
    insta::assert_snapshot!(graph(source));
}

#[test]
fn flattening_keeps_the_batch() {
    let source = "input x: f32[?,7,4]
         shape = Shape(x)
         begin = Const i32[1] 0
         end = Const i32[1] 1
         step = Const i32[1] 1
         batch = StridedSlice(shape, begin, end, step) shrink_axis_mask=1
         rest = Const i32[] -1
         flat = Pack(batch, rest)
         y = Reshape(x, flat)
         output y";
    assert_eq!(operators(source), [r#"Reshape {"shape":[{"copy":0},"infer"]}"#]);
}

#[test]
fn shapes_and_slices() {
    insta::assert_snapshot!(graph(
        "input x: f32[?,6,5,4]
         b = Const i32[3] 1,0,-1
         e = Const i32[3] 0,0,-3
         s = Const i32[3] 1,1,-1
         a = StridedSlice(x, b, e, s) begin_mask=0 end_mask=1 ellipsis_mask=2
         nb = Const i32[2] 0,0
         ne = Const i32[2] 0,2
         ns = Const i32[2] 1,1
         c = StridedSlice(x, nb, ne, ns) new_axis_mask=1
         sb = Const i32[4] 0,1,0,0
         ss = Const i32[4] -1,2,-1,3
         d = Slice(x, sb, ss)
         axis = Const i32[] -1
         f = ExpandDims(x, axis)
         g = Squeeze(f) squeeze_dims=[-1]
         order = Const i32[4] 0,3,1,2
         h = Transpose(g, order)
         size = Size(h)
         rank = Rank(h)
         output a
         output c
         output d
         output h
         output size
         output rank"
    ));
}

#[test]
fn joining_filling_and_gathering() {
    insta::assert_snapshot!(graph(
        "input x: f32[2,6]
         input i: i32[3]
         axis = Const i32[] 1
         a = ConcatV2(x, x, axis)
         b = Pack(x, x) axis=1
         parts = Split(axis, x) num_split=3
         sizes = Const i32[2] 2,-1
         rest = SplitV(x, sizes, axis)
         ones = OnesLike(x)
         counts = Const i32[2] 1,2
         t = Tile(x, counts)
         g = GatherV2(x, i, axis)
         depth = Const i32[] 5
         on = Const f32[] 1
         off = Const f32[] 0
         hot = OneHot(i, depth, on, off)
         places = Const i32[2,1] 3,1
         shape = Const i32[2] 4,6
         scattered = ScatterNd(places, x, shape)
         k = Const i32[] 2
         top = TopKV2(x, k)
         best = ArgMax(x, axis) output_type=type:i32
         far = Const i32[1] -1
         where = Const i32[1] 1
         rolled = Roll(x, far, where)
         finite = IsFinite(rolled)
         output a
         output b
         output parts:2
         output rest:1
         output ones
         output t
         output g
         output hot
         output scattered
         output top
         output top:1
         output best
         output finite"
    ));
}

#[test]
fn images_and_blocks() {
    insta::assert_snapshot!(graph(
        "input x: f32[?,6,6,4]
         amounts = Const i32[4,2] 0,0,1,1,2,2,0,0
         value = Const f32[] -1
         a = Pad(x, amounts)
         b = PadV2(x, amounts, value)
         c = MirrorPad(x, amounts) mode=REFLECT
         size = Const i32[2] 12,9
         d = ResizeBilinear(x, size) half_pixel_centers=true
         e = ResizeNearestNeighbor(x, size)
         two = Const i32[2] 2,2
         none = Const i32[2,2] 0,0,0,0
         f = SpaceToBatchND(x, two, none)
         g = BatchToSpaceND(f, two, none)
         h = SpaceToDepth(x) block_size=2
         i = DepthToSpace(h) block_size=2
         output a
         output b
         output c
         output d
         output e
         output g
         output i"
    ));
}

#[test]
fn logic_and_numbers() {
    insta::assert_snapshot!(graph(
        "input x: f32[?,4]
         input c: bool[?]
         low = Const f32[] -2
         high = Const f32[] 3
         a = ClipByValue(x, low, high)
         b = LeakyRelu(x) alpha=0.1
         d = Greater(x, low)
         e = SelectV2(d, x, a)
         f = Select(c, x, b)
         h = AddN(x, e, f)
         i = Erf(x)
         m = Const f32[] 0
         n = Const f32[] 6
         q = FakeQuantWithMinMaxVars(x, m, n) num_bits=8
         r = Cast(x) DstT=type:i32
         s = Softmax(x)
         output e
         output f
         output h
         output i
         output q
         output r
         output s"
    ));
}

#[test]
fn fused_batch_normalization() {
    insta::assert_snapshot!(graph(
        "input x: f32[?,4,4,2]
         variable g: f32[2]
         variable m: f32[2]
         y = FusedBatchNormV3(x, g, g, m, m) epsilon=0.001 is_training=false
         z = FusedBatchNormV3(x, g, g, m, m) epsilon=0.001 is_training=true data_format=NHWC
         output y
         output z"
    ));
}

#[test]
fn a_condition_that_is_known_is_no_condition() {
    let source = "input x: f32[?,4]
         shape = Shape(x)
         one = Const i32[1] 1
         two = Const i32[1] 2
         size = StridedSlice(shape, one, two, one) shrink_axis_mask=1
         four = Const i32[] 4
         same = Equal(size, four)
         y = StatelessIf(same, x)
         branch
         input a: f32[?,4]
         b = Relu(a)
         output b
         end
         branch
         input a: f32[?,4]
         b = Tanh(a)
         output b
         end
         output y";
    assert_eq!(operators(source), ["Unary"]);
}

#[test]
fn conditions_and_loops_have_graphs_of_their_own() {
    insta::assert_snapshot!(graph(
        "input x: f32[?,4]
         input c: bool[]
         variable k: f32[4,4]
         y = If(c, x, k)
         branch
         input a: f32[?,4]
         input w: f32[4,4]
         b = MatMul(a, w)
         output b
         end
         branch
         input a: f32[?,4]
         input w: f32[4,4]
         b = Tanh(a)
         output b
         end
         zero = Const i32[] 0
         z = While(zero, y, k)
         branch
         input i: i32[]
         input a: f32[?,4]
         input w: f32[4,4]
         n = Const i32[] 3
         less = Less(i, n)
         output less
         end
         branch
         input i: i32[]
         input a: f32[?,4]
         input w: f32[4,4]
         one = Const i32[] 1
         next = AddV2(i, one)
         b = MatMul(a, w)
         output next
         output b
         output w
         end
         output z:1"
    ));
}

#[test]
fn lists_of_tensors_become_tensors() {
    insta::assert_snapshot!(graph(
        "input x: f32[5,?,4]
         items = TensorListFromTensor(x)
         open = Const i32[] -1
         five = Const i32[] 5
         made = TensorListReserve(open, five) element_dtype=type:f32
         zero = Const i32[] 0
         z = While(zero, made, items)
         branch
         input i: i32[]
         input l: f32[]
         input m: f32[]
         n = Const i32[] 5
         less = Less(i, n)
         output less
         end
         branch
         input i: i32[]
         input l: f32[]
         input m: f32[]
         one = Const i32[] 1
         next = AddV2(i, one)
         shape = Const i32[] -1
         item = TensorListGetItem(m, i, shape) element_dtype=type:f32
         new = Tanh(item)
         kept = TensorListSetItem(l, i, new) element_dtype=type:f32
         output next
         output kept
         output m
         end
         y = TensorListStack(z:1, open) element_dtype=type:f32
         output y"
    ));
}

#[test]
fn half_precision_becomes_single_precision() {
    let source = "input x: f16[?,4]
         variable k: f32[4,3]
         half = Cast(k) DstT=type:f16
         a = MatMul(x, half)
         two = Const f16[] 2
         b = Mul(a, two)
         y = Cast(b) DstT=type:f32
         output y";
    insta::assert_snapshot!(graph(source));
}

#[test]
fn the_signature_keeps_its_names() {
    let model = model("input image: f32[?,4]\ny = Relu(image)\noutput y").unwrap();
    let signature = &model.signatures[0];
    assert_eq!(signature.key, "serving_default");
    assert_eq!(signature.inputs, [("image".to_owned(), 0)]);
    assert_eq!(signature.outputs, [("output_0".to_owned(), 0)]);
    assert_eq!(model.source.format, litesmith_graph::Format::SavedModel);
}
