//! Folds of contiguous lines in lanes side by side: element `i` goes to lane `i % 16`, and lanes are
//! folded in halves at the end. So vectors of every width give the same bits.

/// Number of lanes.
pub(crate) const LANES: usize = 16;

/// A line's elements in their lanes, which hold `start` before.
#[inline(always)]
pub(crate) fn in_lanes<T: Copy>(line: &[T], start: T, take: impl Fn(T, T) -> T) -> [T; LANES] {
    let mut lanes = [start; LANES];
    let (whole, rest) = line.as_chunks::<LANES>();
    for elements in whole {
        for i in 0..LANES {
            lanes[i] = take(lanes[i], elements[i]);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = take(*lane, x);
    }
    lanes
}

/// What the lanes come to.
#[inline(always)]
pub(crate) fn in_halves<T: Copy>(mut lanes: [T; LANES], join: impl Fn(T, T) -> T) -> T {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = join(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}
