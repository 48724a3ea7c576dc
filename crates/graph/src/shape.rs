//! Shapes: fixed, free and unknown dimensions.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

/// The name of a free dimension, such as `batch`. Two dimensions of the same name are equal in size.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(Arc<Box<str>>);

impl Symbol {
    /// A symbol of this name.
    #[must_use]
    pub fn new(name: &str) -> Symbol {
        Symbol(Arc::new(name.into()))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// The size of one axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// Known when the model was made.
    Fixed(usize),
    /// Chosen when the model is run, the same wherever the symbol stands.
    Free(Symbol),
    /// Known only when the model is run, and derived from other sizes.
    Unknown,
}

impl Dim {
    /// The size, if it is fixed.
    #[must_use]
    pub fn fixed(&self) -> Option<usize> {
        match self {
            Dim::Fixed(size) => Some(*size),
            _ => None,
        }
    }

    /// A free dimension of this name.
    #[must_use]
    pub fn free(name: &str) -> Dim {
        Dim::Free(Symbol::new(name))
    }

    /// The size of an axis that must equal both, or `None` where they contradict. What is not
    /// known on one side is taken from the other.
    #[must_use]
    pub fn unify(&self, other: &Dim) -> Option<Dim> {
        match (self, other) {
            (a, b) if a == b => Some(a.clone()),
            (Dim::Fixed(_), Dim::Fixed(_)) => None,
            (Dim::Unknown, known) | (known, Dim::Unknown) => Some(known.clone()),
            (Dim::Fixed(size), _) | (_, Dim::Fixed(size)) => Some(Dim::Fixed(*size)),
            (Dim::Free(_), Dim::Free(_)) => Some(Dim::Unknown),
        }
    }

    /// The size after `f`, which is applied to a fixed size only.
    #[must_use]
    pub fn map(&self, f: impl FnOnce(usize) -> usize) -> Dim {
        match self {
            Dim::Fixed(size) => Dim::Fixed(f(*size)),
            _ => Dim::Unknown,
        }
    }
}

impl From<usize> for Dim {
    fn from(size: usize) -> Dim {
        Dim::Fixed(size)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(size) => write!(f, "{size}"),
            Dim::Free(symbol) => f.write_str(symbol.name()),
            Dim::Unknown => f.write_str("?"),
        }
    }
}

/// The sizes of all axes, in place where there are few: shapes are copied and inferred often.
pub type Dims = SmallVec<[Dim; 4]>;

/// The sizes of all axes; empty for a scalar.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Shape(pub Dims);

impl Shape {
    /// A shape of fixed sizes.
    #[must_use]
    pub fn fixed(sizes: &[usize]) -> Shape {
        sizes.iter().map(|size| Dim::Fixed(*size)).collect()
    }

    /// A shape of which only the number of axes is known.
    #[must_use]
    pub fn unknown(rank: usize) -> Shape {
        std::iter::repeat_n(Dim::Unknown, rank).collect()
    }

    /// Number of axes.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The axes.
    #[must_use]
    pub fn dims(&self) -> &[Dim] {
        &self.0
    }

    /// All sizes, if every one is fixed.
    #[must_use]
    pub fn to_fixed(&self) -> Option<Vec<usize>> {
        self.0.iter().map(Dim::fixed).collect()
    }

    /// Number of elements, if every size is fixed and the product does not overflow.
    #[must_use]
    pub fn elements(&self) -> Option<usize> {
        self.0.iter().try_fold(1usize, |product, dim| product.checked_mul(dim.fixed()?))
    }

    /// Number of elements with every size that is not fixed taken as 1 (saturating): what one
    /// sample of a batch holds.
    #[must_use]
    pub fn elements_per_sample(&self) -> u64 {
        self.0.iter().fold(1u64, |product, dim| product.saturating_mul(dim.fixed().unwrap_or(1) as u64))
    }

    /// The last axis.
    #[must_use]
    pub fn last(&self) -> Option<&Dim> {
        self.0.last()
    }

    /// The shape that must equal both, as [`Dim::unify`] axis by axis.
    #[must_use]
    pub fn unify(&self, other: &Shape) -> Option<Shape> {
        if self.rank() != other.rank() {
            return None;
        }
        self.0.iter().zip(&other.0).map(|(a, b)| a.unify(b)).collect()
    }

    /// The shape of an element-wise operation on both by NumPy's broadcasting rule, or `None`
    /// where they do not fit.
    #[must_use]
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let one = Dim::Fixed(1);
        let axis = |shape: &Shape, i: usize| {
            (i + shape.rank()).checked_sub(rank).map_or_else(|| one.clone(), |i| shape.0[i].clone())
        };
        (0..rank)
            .map(|i| match (axis(self, i), axis(other, i)) {
                (Dim::Fixed(1), other) | (other, Dim::Fixed(1)) => Some(other),
                (a, b) => a.unify(&b),
            })
            .collect()
    }
}

impl<D: Into<Dim>, const N: usize> From<[D; N]> for Shape {
    fn from(dims: [D; N]) -> Shape {
        Shape(dims.into_iter().map(Into::into).collect())
    }
}

impl FromIterator<Dim> for Shape {
    fn from_iter<I: IntoIterator<Item = Dim>>(dims: I) -> Shape {
        Shape(dims.into_iter().collect())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, dim) in self.0.iter().enumerate() {
            write!(f, "{}{dim}", if i == 0 { "" } else { "," })?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_numpy() {
        let image = Shape::from([Dim::free("batch"), 8.into(), 8.into(), 3.into()]);
        assert_eq!(image.broadcast(&Shape::from([3])), Some(image.clone()));
        assert_eq!(image.broadcast(&Shape::from([4])), None);
        let gate = Shape::from([Dim::free("batch"), 1.into(), 1.into(), 3.into()]);
        assert_eq!(gate.broadcast(&image), Some(image));
        assert_eq!(Shape::default().broadcast(&Shape::from([2])), Some(Shape::from([2])));
    }

    #[test]
    fn unknown_sizes_take_what_the_other_side_knows() {
        assert_eq!(Dim::Unknown.unify(&Dim::Fixed(4)), Some(Dim::Fixed(4)));
        assert_eq!(Dim::Fixed(3).unify(&Dim::Fixed(4)), None);
        assert_eq!(Dim::free("a").unify(&Dim::free("b")), Some(Dim::Unknown));
    }

    #[test]
    fn products_do_not_overflow() {
        assert_eq!(Shape::from([usize::MAX, 2]).elements(), None);
        assert_eq!(Shape::from([Dim::free("batch"), 5.into()]).elements_per_sample(), 5);
    }
}
