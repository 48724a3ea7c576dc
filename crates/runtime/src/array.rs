use std::borrow::Cow;

use bytemuck::{AnyBitPattern, NoUninit};
use half::f16;
use litesmith_graph::DType;

/// A tensor with its elements, owned: what goes into a model and comes out.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Type of its elements.
    pub dtype: DType,
    /// Sizes of its axes; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements in row-major order, little endian.
    pub data: Vec<u8>,
}

macro_rules! from_elements {
    ($($name:ident $type:ty => $dtype:ident,)*) => {$(
        #[doc = concat!("An array of `", stringify!($type), "` elements in row-major order.")]
        ///
        /// That there are as many as `shape` says is checked where the array is used.
        #[must_use]
        pub fn $name(shape: &[usize], elements: &[$type]) -> Array {
            let data = bytemuck::cast_slice(elements).to_vec();
            Array { dtype: DType::$dtype, shape: shape.to_vec(), data }
        }
    )*};
}

impl Array {
    from_elements! {
        from_f32 f32 => F32,
        from_f64 f64 => F64,
        from_i8 i8 => I8,
        from_u8 u8 => U8,
        from_i16 i16 => I16,
        from_i32 i32 => I32,
        from_i64 i64 => I64,
    }

    /// Zeros; `None` where elements of this type have no fixed size or are too many.
    #[must_use]
    pub fn zeros(dtype: DType, shape: &[usize]) -> Option<Array> {
        let bytes = dtype.bytes(shape.iter().try_fold(1usize, |n, size| n.checked_mul(*size))?)?;
        Some(Array { dtype, shape: shape.to_vec(), data: vec![0; bytes] })
    }

    /// The same elements, borrowed.
    #[must_use]
    pub fn view(&self) -> TensorView<'_> {
        TensorView { dtype: self.dtype, shape: &self.shape, data: &self.data }
    }

    /// The elements as single-precision numbers, whatever their type: integers are widened, not
    /// dequantized.
    #[must_use]
    pub fn floats(&self) -> Cow<'_, [f32]> {
        self.view().floats()
    }

    /// The elements as `T`, which must have the size of the array's type; borrowed where the bytes
    /// happen to be aligned. Bytes beyond the last whole element are left out.
    #[must_use]
    pub fn elements<T: AnyBitPattern + NoUninit>(&self) -> Cow<'_, [T]> {
        self.view().elements()
    }
}

/// A tensor with its elements, borrowed: what [`observe`](crate::Interpreter::observe) shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorView<'a> {
    /// Type of its elements.
    pub dtype: DType,
    /// Sizes of its axes; empty for a scalar.
    pub shape: &'a [usize],
    /// The elements in row-major order, little endian.
    pub data: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// See [`Array::floats`].
    #[must_use]
    pub fn floats(&self) -> Cow<'a, [f32]> {
        let data = self.data;
        match self.dtype {
            DType::F32 => elements(data),
            DType::F16 => elements::<f16>(data).iter().map(|x| x.to_f32()).collect(),
            DType::F64 => elements::<f64>(data).iter().map(|x| *x as f32).collect(),
            DType::I8 => data.iter().map(|x| f32::from(*x as i8)).collect(),
            DType::U8 | DType::Bool => data.iter().map(|x| f32::from(*x)).collect(),
            DType::I4 => {
                data.iter().flat_map(|x| [(*x as i8) << 4 >> 4, *x as i8 >> 4]).map(f32::from).collect()
            }
            DType::I16 => elements::<i16>(data).iter().map(|x| f32::from(*x)).collect(),
            DType::U16 => elements::<u16>(data).iter().map(|x| f32::from(*x)).collect(),
            DType::I32 => elements::<i32>(data).iter().map(|x| *x as f32).collect(),
            DType::U32 => elements::<u32>(data).iter().map(|x| *x as f32).collect(),
            DType::I64 => elements::<i64>(data).iter().map(|x| *x as f32).collect(),
            DType::U64 => elements::<u64>(data).iter().map(|x| *x as f32).collect(),
            DType::Text | DType::Resource => Cow::Borrowed(&[]),
        }
    }

    /// See [`Array::elements`].
    #[must_use]
    pub fn elements<T: AnyBitPattern + NoUninit>(&self) -> Cow<'a, [T]> {
        elements(self.data)
    }

    /// A copy that owns its elements.
    #[must_use]
    pub fn to_array(&self) -> Array {
        Array { dtype: self.dtype, shape: self.shape.to_vec(), data: self.data.to_vec() }
    }
}

fn elements<T: AnyBitPattern + NoUninit>(data: &[u8]) -> Cow<'_, [T]> {
    let size = size_of::<T>().max(1);
    let whole = &data[..data.len() / size * size];
    match bytemuck::try_cast_slice(whole) {
        Ok(slice) => Cow::Borrowed(slice),
        Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(whole)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_every_type_become_floats() {
        assert_eq!(Array::from_i8(&[2], &[-3, 4]).floats().as_ref(), [-3.0, 4.0]);
        assert_eq!(Array::from_i64(&[1], &[1 << 40]).floats().as_ref(), [1_099_511_627_776.0]);
        let packed = Array { dtype: DType::I4, shape: vec![2], data: vec![0xF1] };
        assert_eq!(packed.floats().as_ref(), [1.0, -1.0]);
    }

    #[test]
    fn zeros_check_their_size() {
        assert_eq!(Array::zeros(DType::I32, &[2, 3]).map(|a| a.data.len()), Some(24));
        assert_eq!(Array::zeros(DType::F32, &[usize::MAX, 2]), None);
        assert_eq!(Array::zeros(DType::Text, &[1]), None);
    }
}
