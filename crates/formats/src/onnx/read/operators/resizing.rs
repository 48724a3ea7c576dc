//! Images of another size.

use litesmith_graph::ops::{BinaryKind, FullyConnected, Resize, ResizeKind};
use litesmith_graph::{DType, TensorId};

use super::gathering::chosen_along;
use crate::emit::Emit;
use crate::onnx::read::scope::Scope;
use crate::refusal::{Built, unsupported};

/// How elements are made of those around, and where they lie.
#[derive(Clone, Debug)]
struct Rule {
    mode: String,
    coordinates: String,
    nearest: String,
    cubic: f64,
    excludes_outside: bool,
    antialias: bool,
    outside: f64,
}

/// One axis that gets another size.
#[derive(Clone, Debug)]
struct Axis {
    axis: usize,
    from: usize,
    to: usize,
    scale: f64,
    /// The part of the axis that is resized, for cropping.
    region: [f64; 2],
}

pub(super) fn resize(scope: &mut Scope<'_, '_>) -> Built<TensorId> {
    let x = scope.input(0)?;
    let old = scope.target.opset < 11;
    let text = |key: &'static str, usual: &str| -> Built<String> {
        Ok(scope.attributes.text(key)?.unwrap_or(usual).to_owned())
    };
    let upsamples = scope.op == "Upsample";
    let mut rule = Rule {
        mode: text("mode", "nearest")?,
        coordinates: text("coordinate_transformation_mode", "half_pixel")?,
        nearest: text("nearest_mode", "round_prefer_floor")?,
        cubic: scope.attributes.number("cubic_coeff_a")?.unwrap_or(-0.75).into(),
        excludes_outside: scope.attributes.flag("exclude_outside", false)?,
        antialias: scope.attributes.flag("antialias", false)?,
        outside: scope.attributes.number("extrapolation_value")?.unwrap_or(0.0).into(),
    };
    if old {
        (rule.coordinates, rule.nearest) = ("asymmetric".into(), "floor".into());
    }
    let axes = axes(scope, x, old || upsamples, &rule)?;
    let Some(axes) = axes else { return computed(scope, x, &rule) };
    let changed: Vec<&Axis> = axes.iter().filter(|axis| axis.from != axis.to || axis.scale != 1.0).collect();
    if changed.is_empty() && rule.coordinates != "tf_crop_and_resize" {
        return Ok(x);
    }
    if let Some(op) = as_image(scope, x, &axes, &rule) {
        let image = scope.channels_to_last(x)?;
        let result = scope.emit(op, &[image])?;
        return scope.channels_to_first(result);
    }
    scope.expect_floats(x)?;
    let mut result = x;
    for axis in &axes {
        if axis.from != axis.to || axis.scale != 1.0 || rule.coordinates == "tf_crop_and_resize" {
            result = along(scope, result, axis, &rule)?;
        }
    }
    Ok(result)
}

/// The axes and their new sizes; `None` where these are not known yet.
fn axes(scope: &mut Scope<'_, '_>, x: TensorId, scales_first: bool, rule: &Rule) -> Built<Option<Vec<Axis>>> {
    let rank = scope.rank(x);
    let named = match scope.attributes.integers("axes")? {
        Some(axes) => scope.axes(axes, rank)?,
        None => (0..rank).collect(),
    };
    let policy = scope.attributes.text("keep_aspect_ratio_policy")?.unwrap_or("stretch").to_owned();
    let regions = if scales_first { None } else { scope.optional(1)? };
    let regions = match regions.filter(|_| rule.coordinates == "tf_crop_and_resize") {
        Some(regions) => match scope.known_floats(regions) {
            Some(regions) if regions.len() == 2 * named.len() => Some(regions),
            _ => unsupported!("the part that is resized must be constant"),
        },
        None => None,
    };
    let scales = scope.optional(if scales_first { 1 } else { 2 })?;
    let scales = match scales.filter(|scales| scope.shape(*scales).elements() != Some(0)) {
        Some(scales) => match scope.known_floats(scales) {
            Some(scales) => Some(scales.into_iter().map(f64::from).collect::<Vec<f64>>()),
            None => unsupported!("its scales must be constant; they are computed while the model runs"),
        },
        None => {
            let scales = scope.attributes.numbers("scales")?;
            scales.map(|scales| scales.iter().map(|scale| f64::from(*scale)).collect())
        }
    };
    let sizes = if scales_first { None } else { scope.optional(3)? };
    let Some(scales) = scales else {
        let Some(sizes) = sizes else { return Err(scope.broken("it has neither scales nor sizes").into()) };
        let Some(sizes) = scope.known_integers(sizes) else { return Ok(None) };
        return of_sizes(scope, x, &named, &sizes, &policy, regions.as_deref()).map(Some);
    };
    scope.optional(3)?;
    if scales.len() != named.len() || scales.iter().any(|scale| !scale.is_finite() || *scale <= 0.0) {
        return Err(scope.broken(format!("its scales are {scales:?}")).into());
    }
    let mut all = Vec::with_capacity(named.len());
    for (place, (axis, scale)) in named.iter().zip(&scales).enumerate() {
        if *scale == 1.0 && regions.is_none() {
            continue;
        }
        if scope.shape(x).dims()[*axis].fixed().is_none() {
            return Ok(None);
        }
        let from = scope.size(x, *axis)?;
        let region = region(regions.as_deref(), place, named.len());
        let to = (from as f64 * (region[1] - region[0]) * scale).floor() as usize;
        all.push(Axis { axis: *axis, from, to, scale: *scale, region });
    }
    Ok(Some(all))
}

fn region(regions: Option<&[f32]>, place: usize, count: usize) -> [f64; 2] {
    regions.map_or([0.0, 1.0], |regions| [regions[place].into(), regions[count + place].into()])
}

fn of_sizes(
    scope: &Scope<'_, '_>,
    x: TensorId,
    named: &[usize],
    sizes: &[i64],
    policy: &str,
    regions: Option<&[f32]>,
) -> Built<Vec<Axis>> {
    if sizes.len() != named.len() {
        return Err(scope.broken(format!("its sizes are {sizes:?}")).into());
    }
    let mut all = Vec::with_capacity(named.len());
    for (place, (axis, to)) in named.iter().zip(sizes).enumerate() {
        let to = scope.size_from(*to, "a size")?;
        // Batch and channels are given as they are.
        if *axis < 2
            && scope.shape(x).dims()[*axis].fixed().is_none_or(|from| from == to)
            && regions.is_none()
        {
            continue;
        }
        let from = scope.size(x, *axis)?;
        let scale = to as f64 / from.max(1) as f64;
        all.push(Axis { axis: *axis, from, to, scale, region: region(regions, place, named.len()) });
    }
    let scales = all.iter().map(|axis| axis.scale);
    let scale = match policy {
        "stretch" => return Ok(all),
        "not_larger" => scales.fold(f64::INFINITY, f64::min),
        "not_smaller" => scales.fold(0.0, f64::max),
        other => return Err(scope.broken(format!("its policy is '{other}'")).into()),
    };
    for axis in &mut all {
        axis.scale = scale;
        // Halves upward.
        axis.to = (axis.from as f64 * scale + 0.5).floor() as usize;
    }
    Ok(all)
}

/// The operator on images, where it computes the same.
fn as_image(scope: &Scope<'_, '_>, x: TensorId, axes: &[Axis], rule: &Rule) -> Option<Resize> {
    if scope.rank(x) != 4 || axes.iter().any(|axis| axis.axis < 2) || rule.antialias || axes.is_empty() {
        return None;
    }
    let of = |wanted: usize| axes.iter().find(|axis| axis.axis == wanted);
    let mut size = [0; 2];
    for (place, size) in size.iter_mut().enumerate() {
        *size = match of(place + 2) {
            Some(axis) => axis.to,
            None => scope.shape(x).dims()[place + 2].fixed()?,
        };
    }
    // Where a length is rounded, the scale is not that of the sizes.
    let exact = axes.iter().all(|axis| (axis.to as f64 - axis.from as f64 * axis.scale).abs() < 1e-6);
    let longer = axes.iter().all(|axis| axis.to > 1 || axis.from == axis.to);
    let alignment = match rule.coordinates.as_str() {
        "half_pixel" if exact => (false, true),
        "half_pixel_symmetric" if exact => (false, true),
        "pytorch_half_pixel" if exact && longer => (false, true),
        "asymmetric" if exact => (false, false),
        "align_corners" if exact && longer => (true, false),
        _ => return None,
    };
    let (align_corners, half_pixel_centers) = alignment;
    let kind = match (rule.mode.as_str(), rule.nearest.as_str()) {
        ("linear", _) => ResizeKind::Bilinear,
        // Whole factors leave nothing to be rounded.
        ("nearest", "floor") if rule.coordinates == "asymmetric" => ResizeKind::Nearest,
        ("nearest", "round_prefer_floor")
            if rule.coordinates.starts_with("half") || rule.coordinates == "pytorch_half_pixel" =>
        {
            let whole = |axis: &Axis| axis.to >= axis.from && axis.to.is_multiple_of(axis.from.max(1));
            if !axes.iter().all(whole) {
                return None;
            }
            return Some(Resize { kind: ResizeKind::Nearest, size, ..Resize::default() });
        }
        _ => return None,
    };
    if size.contains(&0) {
        return None;
    }
    Some(Resize { kind, size, align_corners, half_pixel_centers })
}

/// To a size that is computed.
fn computed(scope: &mut Scope<'_, '_>, x: TensorId, rule: &Rule) -> Built<TensorId> {
    let by_scale = scope.optional(2)?.filter(|scales| scope.shape(*scales).elements() != Some(0));
    let first = scope.target.opset < 11;
    let (align_corners, half_pixel_centers) = match rule.coordinates.as_str() {
        "half_pixel" | "pytorch_half_pixel" => (false, true),
        "asymmetric" => (false, false),
        "align_corners" => (true, false),
        other => {
            unsupported!("coordinates of '{other}' need a fixed size; give the model a fixed input shape")
        }
    };
    let scales = if first { scope.optional(1)? } else { by_scale };
    let whole = |scales: &[f32]| scales.iter().all(|scale| *scale >= 1.0 && scale.fract() == 0.0);
    let scales = scales.and_then(|scales| scope.known_floats(scales));
    if rule.coordinates == "pytorch_half_pixel" && !scales.as_deref().is_some_and(whole) {
        // A size of 1 would be another place.
        unsupported!(
            "coordinates of 'pytorch_half_pixel' need a fixed size; give the model a fixed input shape"
        );
    }
    let kind = match (rule.mode.as_str(), rule.nearest.as_str(), rule.coordinates.as_str()) {
        ("linear", ..) => ResizeKind::Bilinear,
        ("nearest", "floor", "asymmetric") => ResizeKind::Nearest,
        ("nearest", "round_prefer_floor", "half_pixel" | "pytorch_half_pixel")
            if scales.as_deref().is_some_and(whole) =>
        {
            ResizeKind::Nearest
        }
        _ => unsupported!(
            "'{}' of '{}' needs a fixed size; give the model a fixed input shape",
            rule.mode,
            rule.nearest
        ),
    };
    let half_pixel_centers = half_pixel_centers && kind == ResizeKind::Bilinear;
    if scope.rank(x) != 4 || rule.antialias {
        unsupported!("it needs a fixed size; give the model a fixed input shape");
    }
    let image = scope.channels_to_last(x)?;
    let size = match scales {
        Some(scales) => {
            if !matches!(scales.as_slice(), [1.0, 1.0, _, _]) || !whole(&scales) {
                unsupported!("scales of {scales:?} need a fixed size; give the model a fixed input shape");
            }
            let sizes = scope.emit(litesmith_graph::ops::ShapeOf { dtype: DType::I32 }, &[image])?;
            let own = scope.part(sizes, 0, 1, 2)?;
            let factors = [scales[2] as i64, scales[3] as i64];
            let factors = scope.integers("factors", DType::I32, &[2], &factors)?;
            scope.binary(BinaryKind::Mul, own, factors)?
        }
        None => {
            let sizes = scope.input(3)?;
            let count = scope.shape(sizes).elements().unwrap_or(0);
            let Some(first) = count.checked_sub(2) else {
                return Err(scope.broken("its sizes are no list of at least two").into());
            };
            let size = scope.part(sizes, 0, first, 2)?;
            scope.cast(size, DType::I32)?
        }
    };
    let op = Resize { kind, size: [0, 0], align_corners, half_pixel_centers };
    let result = scope.emit(op, &[image, size])?;
    scope.channels_to_first(result)
}

/// One axis: elements are chosen, or weighted sums of those around.
fn along(scope: &mut Scope<'_, '_>, x: TensorId, axis: &Axis, rule: &Rule) -> Built<TensorId> {
    if axis.from == 0 || axis.to == 0 {
        return Err(scope.broken("an axis has no elements").into());
    }
    scope.listable(&[axis.to])?;
    let positions: Vec<f64> = (0..axis.to).map(|index| position(index, axis, rule)).collect::<Built<_>>()?;
    if rule.mode == "nearest" && rule.coordinates != "tf_crop_and_resize" {
        let last = axis.from as i64 - 1;
        let place = |position: &f64| match rule.nearest.as_str() {
            "floor" => position.floor(),
            "ceil" => position.ceil(),
            "round_prefer_ceil" => (position + 0.5).floor(),
            _ => (position - 0.5).ceil(),
        };
        let places: Vec<i64> = positions.iter().map(|at| (place(at) as i64).clamp(0, last)).collect();
        return chosen_along(scope, x, axis.axis, &places);
    }
    scope.affordable(&[axis.from, axis.to])?;
    let mut weights = vec![0f32; axis.from * axis.to];
    let mut outside = vec![0f32; axis.to];
    for (row, at) in positions.iter().enumerate() {
        let beyond = rule.coordinates == "tf_crop_and_resize" && (*at < 0.0 || *at > (axis.from - 1) as f64);
        if beyond {
            outside[row] = rule.outside as f32;
            continue;
        }
        for (place, weight) in taps(*at, axis, rule)? {
            weights[row * axis.from + place] += weight as f32;
        }
    }
    let extrapolates = outside.iter().any(|value| *value != 0.0);
    let weights = scope.floats("weights", &[axis.to, axis.from], weights);
    let bias = if extrapolates { Some(scope.floats("outside", &[axis.to], outside)) } else { None };
    let axis = axis.axis;
    scope.along_last(x, axis, |scope, x| {
        let op = FullyConnected { keep_num_dims: scope.rank(x) > 2, ..FullyConnected::default() };
        if scope.rank(x) > 1 {
            return scope.emit_some(op, vec![Some(x), Some(weights), bias]);
        }
        let row = scope.emit(litesmith_graph::ops::ExpandDims { axis: 0 }, &[x])?;
        let result = scope.emit_some(op, vec![Some(row), Some(weights), bias])?;
        scope.emit(litesmith_graph::ops::Squeeze { axes: vec![0] }, &[result])
    })
}

/// Where an element of the result lies in the input.
fn position(index: usize, axis: &Axis, rule: &Rule) -> Built<f64> {
    let (at, from, to) = (index as f64, axis.from as f64, axis.to as f64);
    Ok(match rule.coordinates.as_str() {
        "half_pixel" => (at + 0.5) / axis.scale - 0.5,
        "half_pixel_symmetric" => {
            // The middle of both is the same, whatever a length is rounded to.
            let adjustment = to / (from * axis.scale);
            let offset = from / 2.0 * (1.0 - adjustment);
            offset + (at + 0.5) / axis.scale - 0.5
        }
        "pytorch_half_pixel" if axis.to == 1 => -0.5,
        "pytorch_half_pixel" => (at + 0.5) / axis.scale - 0.5,
        "align_corners" if axis.to == 1 => 0.0,
        "align_corners" if (to - from * axis.scale).abs() > 1e-6 => {
            unsupported!("'align_corners' with a length that is rounded means different things; give sizes")
        }
        "align_corners" => at * (from - 1.0) / (to - 1.0),
        "asymmetric" => at / axis.scale,
        "tf_crop_and_resize" if axis.to == 1 => 0.5 * (axis.region[0] + axis.region[1]) * (from - 1.0),
        "tf_crop_and_resize" => {
            let [start, end] = axis.region;
            start * (from - 1.0) + at * (end - start) * (from - 1.0) / (to - 1.0)
        }
        other => unsupported!("coordinates of '{other}' are not supported; use half_pixel"),
    })
}

/// The elements that one is made of, with their weights.
fn taps(at: f64, axis: &Axis, rule: &Rule) -> Built<Vec<(usize, f64)>> {
    // Where a result is smaller, antialiasing widens what each element is made of.
    let stretch = if rule.antialias { axis.scale.min(1.0) } else { 1.0 };
    let radius = match rule.mode.as_str() {
        "linear" => 1.0,
        "cubic" => 2.0,
        "nearest" => {
            let place = (at - 0.5).ceil().clamp(0.0, (axis.from - 1) as f64);
            return Ok(vec![(place as usize, 1.0)]);
        }
        other => unsupported!("the mode '{other}' is not supported; use nearest, linear or cubic"),
    };
    let value = |distance: f64| {
        let d = (distance * stretch).abs();
        if rule.mode == "linear" {
            return (1.0 - d).max(0.0);
        }
        let a = rule.cubic;
        if d <= 1.0 {
            ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
        } else if d < 2.0 {
            ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
        } else {
            0.0
        }
    };
    let reach = radius / stretch;
    let (first, last) = ((at - reach).floor() as i64, (at + reach).ceil() as i64);
    let inside = |place: i64| (0..axis.from as i64).contains(&place);
    let mut taps: Vec<(i64, f64)> = (first..=last).map(|place| (place, value(at - place as f64))).collect();
    if rule.excludes_outside || rule.antialias {
        taps.retain(|(place, _)| inside(*place) || !rule.excludes_outside);
    }
    let sum: f64 = taps.iter().map(|(_, weight)| weight).sum();
    let norm = if (rule.excludes_outside || rule.antialias) && sum != 0.0 { sum } else { 1.0 };
    let clamp = |place: i64| place.clamp(0, axis.from as i64 - 1) as usize;
    Ok(taps.into_iter().map(|(place, weight)| (clamp(place), weight / norm)).collect())
}
