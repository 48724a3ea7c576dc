//! Branches, loops, states, and shapes that depend on computed values.

use litesmith_runtime::{Array, Interpreter, Interrupt, Options, RuntimeError};

use crate::{model, run};

fn interpreter(text: &str) -> Interpreter {
    Interpreter::new(&model(text), &Options::default().with_threads(1)).unwrap()
}

fn floats(array: &Array) -> Vec<f32> {
    array.floats().into_owned()
}

const BRANCHES: &str = r#"
    graph main(%c: bool[], %x: f32[batch,2]) -> (%y, %z) {
      %k: f32[2] = [10,20]
      %y: f32[batch,2], %z: f32[2] = If(%c, %x, %k) {"then_graph":1,"else_graph":2}
    }
    graph sum(%a: f32[batch,2], %b: f32[2]) -> (%s, %b) {
      %s: f32[batch,2] = Binary(%a, %b)
    }
    graph product(%a: f32[batch,2], %b: f32[2]) -> (%s, %t) {
      %s: f32[batch,2] = Binary(%a, %b) {"kind":"mul"}
      %t: f32[2] = [5,6]
    }
"#;

#[test]
fn a_branch_is_chosen() {
    let x = Array::from_f32(&[1, 2], &[1.0, 2.0]);
    let truth =
        |value: u8| Array { data: vec![value], ..Array::zeros(litesmith_graph::DType::Bool, &[]).unwrap() };
    let mut branches = interpreter(BRANCHES);
    for _ in 0..2 {
        let then = branches.run(&[truth(1), x.clone()]).unwrap();
        assert_eq!((floats(&then[0]), floats(&then[1])), (vec![11.0, 22.0], vec![10.0, 20.0]));
        let other = branches.run(&[truth(0), x.clone()]).unwrap();
        assert_eq!((floats(&other[0]), floats(&other[1])), (vec![10.0, 40.0], vec![5.0, 6.0]));
    }
    let taller = Array::from_f32(&[3, 2], &[0.0; 6]);
    assert_eq!(branches.run(&[truth(1), taller]).unwrap()[0].shape, [3, 2]);
}

/// Variables that are counted, moved around, kept, written to in place, and forgotten.
const LOOP: &str = r#"
    graph main(%n: i32[], %x: f32[4,2]) -> (%e, %f, %o, %q, %d) {
      %zero: i32[] = [0]
      %h: f32[1,2] = [1,2]
      %g: f32[1,2] = [3,4]
      %acc: f32[4,2] = splat(0)
      %d: i32[], %m: i32[], %w: f32[4,2], %e: f32[1,2], %f: f32[1,2], %o: f32[4,2], %q: i32[] = While(%zero, %n, %x, %h, %g, %acc, %zero) {"condition":1,"body":2}
    }
    graph condition(%i: i32[], %n: i32[], %x: f32[4,2], %h: f32[1,2], %g: f32[1,2], %o: f32[4,2], %p: i32[]) -> (%go) {
      %go: bool[] = Compare(%i, %n) {"kind":"less"}
    }
    graph body(%i: i32[], %n: i32[], %x: f32[4,2], %h: f32[1,2], %g: f32[1,2], %o: f32[4,2], %p: i32[]) -> (%j, %n, %x, %g, %s, %w, %k) {
      %one: i32[] = [1]
      %j: i32[] = Binary(%i, %one)
      %row: f32[2] = Gather(%x, %i)
      %s: f32[1,2] = Binary(%h, %row)
      %at: i32[2] = Pack(%i, %zero)
      %k: i32[] = [7]
      %w: f32[4,2] = UpdateSlice(%o, %s, %at)
    }
"#;

fn loop_text() -> String {
    LOOP.replace("%one: i32[] = [1]", "%one: i32[] = [1]\n%zero: i32[] = [0]")
}

/// The same in plain Rust: h, g, acc, the forgotten one, the counter.
fn plain_loop(n: i32, x: &[f32]) -> (Vec<f32>, Vec<f32>, Vec<f32>, i32, i32) {
    let (mut h, mut g, mut acc, mut forgotten) = (vec![1.0, 2.0], vec![3.0, 4.0], vec![0.0; 8], 0);
    for i in 0..n as usize {
        let s: Vec<f32> = h.iter().zip(&x[i * 2..]).map(|(h, x)| h + x).collect();
        acc[i * 2..i * 2 + 2].copy_from_slice(&s);
        (h, g, forgotten) = (g, s, 7);
    }
    (h, g, acc, forgotten, n)
}

#[test]
fn a_loop_goes_round() {
    let x: Vec<f32> = (0..8).map(|i| i as f32 * 0.5).collect();
    let mut interpreter = interpreter(&loop_text());
    for n in [0, 1, 4, 2] {
        let outputs = interpreter.run(&[Array::from_i32(&[], &[n]), Array::from_f32(&[4, 2], &x)]).unwrap();
        let (h, g, acc, forgotten, count) = plain_loop(n, &x);
        assert_eq!(floats(&outputs[0]), h, "{n} rounds");
        assert_eq!(floats(&outputs[1]), g, "{n} rounds");
        assert_eq!(floats(&outputs[2]), acc, "{n} rounds");
        assert_eq!((outputs[3].elements::<i32>()[0], outputs[4].elements::<i32>()[0]), (forgotten, count));
    }
    // An index beyond the table is told, with the layer inside the loop.
    let error = interpreter.run(&[Array::from_i32(&[], &[5]), Array::from_f32(&[4, 2], &x)]).unwrap_err();
    assert!(error.to_string().contains("Gather"), "{error}");
}

#[test]
fn a_loop_of_loops_goes_round() {
    let text = r#"
      graph main(%n: i32[]) -> (%s) {
        %zero: i32[] = [0]
        %i: i32[], %m: i32[], %s: i32[] = While(%zero, %n, %zero) {"condition":1,"body":2}
      }
      graph condition(%i: i32[], %n: i32[], %s: i32[]) -> (%go) {
        %go: bool[] = Compare(%i, %n) {"kind":"less"}
      }
      graph outer(%i: i32[], %n: i32[], %s: i32[]) -> (%j, %n, %t) {
        %zero: i32[] = [0]
        %one: i32[] = [1]
        %a: i32[], %b: i32[], %t: i32[] = While(%zero, %i, %s) {"condition":1,"body":3}
        %j: i32[] = Binary(%i, %one)
      }
      graph inner(%i: i32[], %n: i32[], %s: i32[]) -> (%j, %n, %t) {
        %one: i32[] = [1]
        %t: i32[] = Binary(%s, %one)
        %j: i32[] = Binary(%i, %one)
      }
    "#;
    assert_eq!(run(text, &[Array::from_i32(&[], &[6])])[0].elements::<i32>()[0], 15);
}

const STATES: &str = r#"
    state $sum: f32[2] = [10,20]
    state $count: i8[1]
    graph main(%x: f32[2]) -> (%old, %new, %n) {
      %old: f32[2] = ReadState($sum)
      %s: f32[2] = Binary(%old, %x)
      AssignState($sum, %s)
      %new: f32[2] = ReadState($sum)
      %c: i8[1] = ReadState($count)
      %wide: i32[1] = Cast(%c) {"to":"i32"}
      %one: i32[1] = [1]
      %more: i32[1] = Binary(%wide, %one)
      %narrow: i8[1] = Cast(%more) {"to":"i8"}
      AssignState($count, %narrow)
      %n: i8[1] = ReadState($count)
    }
"#;

#[test]
fn states_survive_until_they_are_reset() {
    let mut interpreter = interpreter(STATES);
    let step = |interpreter: &mut Interpreter| {
        let outputs = interpreter.run(&[Array::from_f32(&[2], &[1.0, 2.0])]).unwrap();
        (floats(&outputs[0]), floats(&outputs[1]), outputs[2].data[0])
    };
    for _ in 0..2 {
        assert_eq!(step(&mut interpreter), (vec![10.0, 20.0], vec![11.0, 22.0], 1));
        assert_eq!(step(&mut interpreter), (vec![11.0, 22.0], vec![12.0, 24.0], 2));
        interpreter.reset_states();
    }
    let mut shown = 0;
    interpreter.observe(&[Array::from_f32(&[2], &[1.0, 2.0])], &mut |_, _| shown += 1).unwrap();
    assert_eq!(shown, 9);
    assert_eq!(step(&mut interpreter).2, 2);
}

/// A loop that joins rows, branches of different lengths, and shapes that are computed.
const COMPUTED: &str = r#"
    graph main(%x: f32[4], %n: i32[]) -> (%p, %b, %r) {
      %zero: i32[] = [0]
      %one: i32[] = [1]
      %two: i32[] = [2]
      %three: i32[] = [3]
      %flat: f32[1,4] = Reshape(%x) {"shape":[1,4]}
      %start: f32[1,2] = splat(0)
      %size: i32[2] = Pack(%n, %two)
      %filled: f32[?,2] = Fill(%size, %first)
      %square: f32[2,2] = Reshape(%x) {"shape":[2,2]}
      %often: i32[2] = Pack(%n, %one)
      %tiled: f32[?,2] = Tile(%square, %often)
      %table: f32[?,2] = Concat(%filled, %tiled) {"axis":0}
      %i: i32[], %m: i32[], %rows: f32[?,2], %t: f32[?,2] = While(%zero, %n, %start, %table) {"condition":1,"body":2}
      %many: bool[] = Compare(%n, %two) {"kind":"greater"}
      %part: f32[?,2] = If(%many, %rows) {"then_graph":3,"else_graph":4}
      %before: i32[2] = Pack(%n, %one)
      %after: i32[2] = Pack(%zero, %n)
      %amounts: i32[2,2] = Pack(%before, %after)
      %p: f32[?,?] = Pad(%part, %amounts)
      %wide: i32[2] = Pack(%n, %three)
      %b: f32[?,3] = BroadcastTo(%first, %wide)
      %image: f32[1,2,2,1] = Reshape(%x) {"shape":[1,2,2,1]}
      %r: f32[1,?,?,1] = Resize(%image, %often) {"kind":"nearest"}
    }
    graph condition(%i: i32[], %n: i32[], %rows: f32[1,2], %t: f32[1,2]) -> (%go) {
      %go: bool[] = Compare(%i, %n) {"kind":"less"}
    }
    graph body(%i: i32[], %n: i32[], %rows: f32[1,2], %t: f32[1,2]) -> (%j, %n, %more, %t) {
      %one: i32[] = [1]
      %zero: i32[] = [0]
      %size: i32[2] = [1,2]
      %j: i32[] = Binary(%i, %one)
      %at: i32[2] = Pack(%i, %zero)
      %row: f32[1,2] = Slice(%t, %at, %size)
      %more: f32[?,2] = Concat(%rows, %row) {"axis":0}
    }
    graph double(%a: f32[1,2]) -> (%b) {
      %b: f32[?,2] = Binary(%a, %a)
    }
    graph first(%a: f32[1,2]) -> (%b) {
      %b: f32[1,2] = StridedSlice(%a) {"begin":[0],"end":[1],"strides":[1]}
    }
"#;

#[test]
fn shapes_may_be_computed() {
    let text = COMPUTED
        .replace("%flat: f32[1,4] = Reshape(%x) {\"shape\":[1,4]}", "%first: f32[] = Gather(%x, %zero)");
    let mut interpreter = interpreter(&text);
    let x = Array::from_f32(&[4], &[1.0, 2.0, 3.0, 4.0]);
    // The second run of the same shapes has plans of the called graphs.
    for n in [3, 1, 3, 3] {
        let outputs = interpreter.run(&[x.clone(), Array::from_i32(&[], &[n])]).unwrap();
        let (padded, spread, resized) = (&outputs[0], &outputs[1], &outputs[2]);
        let rows = if n > 2 { n as usize + 1 } else { 1 };
        let width = 2 + n as usize;
        assert_eq!(padded.shape, [rows + n as usize + 1, width]);
        let (padded, value) = (floats(padded), if n > 2 { 2.0 } else { 0.0 });
        for row in 0..rows {
            let expected = if row == 0 { 0.0 } else { value };
            let start = (row + n as usize) * width;
            assert_eq!(padded[start..start + 2], [expected; 2], "row {row} of {n}");
        }
        assert_eq!(
            (spread.shape.as_slice(), floats(spread)),
            (&[n as usize, 3][..], vec![1.0; n as usize * 3])
        );
        assert_eq!(resized.shape, [1, n as usize, 1, 1]);
    }
    let mut names = Vec::new();
    let inputs = [x, Array::from_i32(&[], &[2])];
    let observed =
        interpreter.observe(&inputs, &mut |tensor, view| names.push((tensor, view.to_array()))).unwrap();
    assert_eq!(observed, interpreter.run(&inputs).unwrap());
    let main = model(&text).main().clone();
    assert_eq!(names.len(), 2 + main.nodes.iter().map(|node| node.outputs.len()).sum::<usize>());
    let profile = interpreter.profile(&inputs, 2).unwrap();
    assert!(profile.iter().any(|step| step.operator == "WHILE"));
}

#[test]
fn constants_go_into_branches() {
    // Weights of an integer product must be constant: here the caller gives them.
    let text = r#"
      graph main(%c: bool[], %x: i8[1,2] q{"scales":[0.5],"zero_points":[0]}) -> (%y) {
        %w: i8[1,2] q{"scales":[0.5],"zero_points":[0]} = [2,3]
        %y: i8[1,1] q{"scales":[1],"zero_points":[0]} = If(%c, %x, %w) {"then_graph":1,"else_graph":2}
      }
      graph then(%x: i8[1,2] q{"scales":[0.5],"zero_points":[0]}, %w: i8[1,2] q{"scales":[0.5],"zero_points":[0]}) -> (%y) {
        %y: i8[1,1] q{"scales":[1],"zero_points":[0]} = FullyConnected(%x, %w, _)
      }
      graph other(%x: i8[1,2] q{"scales":[0.5],"zero_points":[0]}, %w: i8[1,2] q{"scales":[0.5],"zero_points":[0]}) -> (%y) {
        %y: i8[1,1] q{"scales":[1],"zero_points":[0]} = [9]
      }
    "#;
    let truth =
        |value: u8| Array { data: vec![value], ..Array::zeros(litesmith_graph::DType::Bool, &[]).unwrap() };
    let x = Array::from_i8(&[1, 2], &[4, 2]);
    assert_eq!(run(text, &[truth(1), x.clone()])[0].data, [4]);
    assert_eq!(run(text, &[truth(0), x])[0].data, [9]);
}

const ENDLESS: &str = r#"
    graph main(%x: f32[1]) -> (%y) {
      %y: f32[1] = While(%x) {"condition":1,"body":2}
    }
    graph always(%x: f32[1]) -> (%go) {
      %go: bool[] = [1]
    }
    graph body(%x: f32[1]) -> (%y) {
      %y: f32[1] = Binary(%x, %x)
    }
"#;

#[test]
fn loops_without_end_can_be_interrupted() {
    let grows = ENDLESS
        .replace("f32[1] = While", "f32[?] = While")
        .replace("Binary(%x, %x)", "Concat(%x, %x) {\"axis\":0}");
    let error = {
        let options = Options::default().with_threads(1).with_max_memory(1 << 20);
        let mut interpreter = Interpreter::new(&model(&grows), &options).unwrap();
        interpreter.run(&[Array::from_f32(&[1], &[1.0])]).unwrap_err()
    };
    assert!(matches!(error, RuntimeError::Resource { .. }), "{error}");
    let interrupt = Interrupt::default();
    let options = Options::default().with_threads(1).with_interrupt(interrupt.clone());
    let mut interpreter = Interpreter::new(&model(ENDLESS), &options).unwrap();
    let other = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        interrupt.set();
    });
    let result = interpreter.run(&[Array::from_f32(&[1], &[1.0])]);
    other.join().unwrap();
    assert_eq!(result, Err(RuntimeError::Interrupted));
}

#[test]
fn slices_are_found_where_they_are_computed() {
    let text = r#"
      graph main(%x: f32[3,4], %i: i32[2], %j: i64[1]) -> (%y, %z) {
        %size: i32[2] = [1,2]
        %y: f32[1,2] = Slice(%x, %i, %size)
        %end: i64[1] = [9]
        %one: i64[1] = [1]
        %z: f32[4] = StridedSlice(%x, %j, %end, %one) {"shrink_axis_mask":1}
      }
    "#;
    let x: Vec<f32> = (0..12).map(|i| i as f32).collect();
    let mut interpreter = interpreter(text);
    let mut at = |i: [i32; 2], j: i64| {
        let inputs = [Array::from_f32(&[3, 4], &x), Array::from_i32(&[2], &i), Array::from_i64(&[1], &[j])];
        interpreter.run(&inputs).map(|outputs| (floats(&outputs[0]), floats(&outputs[1])[0]))
    };
    assert_eq!(at([2, 1], -3), Ok((vec![9.0, 10.0], 0.0)));
    assert_eq!(at([0, 2], 2), Ok((vec![2.0, 3.0], 8.0)));
    for (i, j) in [([0, 3], 0), ([-1, 0], 0), ([3, 0], 0), ([0, 0], 3), ([0, 0], -4)] {
        assert!(matches!(at(i, j), Err(RuntimeError::Step { .. })), "{i:?} {j}");
    }
}

/// A row written as TensorFlow writes it: what is before it, the row, what is behind it.
const ROWS: &str = r#"
    graph main(%x: f32[3,2]) -> (%rows) {
      %zero: i32[] = [0]
      %start: f32[3,2] = splat(-1)
      %i: i32[], %rows: f32[?,2], %y: f32[3,2] = While(%zero, %start, %x) {"condition":1,"body":2}
    }
    graph condition(%i: i32[], %rows: f32[3,2], %x: f32[3,2]) -> (%go) {
      %three: i32[] = [3]
      %go: bool[] = Compare(%i, %three) {"kind":"less"}
    }
    graph body(%i: i32[], %rows: f32[3,2], %x: f32[3,2]) -> (%j, %more, %x) {
      %one: i32[] = [1]
      %j: i32[] = Binary(%i, %one)
      %row: f32[2] = Gather(%x, %i)
      %wide: f32[1,2] = Reshape(%row) {"shape":[1,2]}
      %first: i32[1] = Reshape(%i) {"shape":[1]}
      %all: i32[1] = [-1]
      %size: i32[2] = Concat(%first, %all) {"axis":0}
      %none: i32[2] = [0,0]
      %before: f32[?,?] = Slice(%rows, %none, %size)
      %next: i32[1] = Reshape(%j) {"shape":[1]}
      %nothing: i32[1] = [0]
      %from: i32[2] = Concat(%next, %nothing) {"axis":0}
      %rest: i32[2] = [-1,-1]
      %behind: f32[?,?] = Slice(%rows, %from, %rest)
      %more: f32[?,?] = Concat(%before, %wide, %behind) {"axis":0}
    }
"#;

#[test]
fn rows_that_are_replaced_need_no_computed_shape() {
    let x: Vec<f32> = (0..6).map(|i| i as f32).collect();
    let run = |text: &str| {
        let mut interpreter = interpreter(text);
        let outputs = interpreter.run(&[Array::from_f32(&[3, 2], &x)]).unwrap();
        (interpreter.arena_bytes() > 0, floats(&outputs[0]))
    };
    assert_eq!(run(ROWS), (true, x.clone()));
    // Node by node, where what follows is not the next row.
    let other = ROWS
        .replace("%next: i32[1] = Reshape(%j)", "%k: i32[] = Binary(%one, %j)\n%next: i32[1] = Reshape(%k)");
    let other = other.replace("= [3]", "= [1]");
    assert_eq!(run(&other), (false, vec![0.0, 1.0, -1.0, -1.0]));
}
