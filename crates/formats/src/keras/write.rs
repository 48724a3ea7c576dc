//! Files with the weights of a model in the place of their own, everything else word for word.

use bytes::Bytes;
use half::{bf16, f16};
use litesmith_graph::{DType, Model, Parameter};

use crate::error::{FormatError, Unsupported};
use crate::keras::hdf5::{Element, Hdf5};

/// The HDF5 file with the parameters of `model` written over the arrays that they were read from.
///
/// # Errors
/// If a parameter is not in the file, has another shape there, or is stored in pieces.
pub(super) fn with_parameters(original: &Bytes, model: &Model) -> Result<Vec<u8>, FormatError> {
    let file = Hdf5::open(original.clone())?;
    let mut bytes = original.to_vec();
    for parameter in &model.parameters {
        let path = &parameter.origin.path;
        if !file.has_array(path) {
            return Err(refused(
                parameter,
                format!("the original file has no array '{path}'; write the model as TFLite"),
            ));
        }
        let Some(place) = file.place(path)? else {
            let advice = "it is stored in pieces or packed; load and save the original with Keras first";
            return Err(refused(parameter, advice.to_owned()));
        };
        if place.shape != parameter.shape {
            let (was, is) = (&place.shape, &parameter.shape);
            let reason = format!(
                "its shape was {was:?} and is {is:?} now, which the original configuration does not describe; \
                 write the model as TFLite"
            );
            return Err(refused(parameter, reason));
        }
        let encoded = encode(parameter, place.element)?;
        match bytes.get_mut(place.range) {
            Some(slot) if slot.len() == encoded.len() => slot.copy_from_slice(&encoded),
            _ => return Err(refused(parameter, format!("it has {} bytes", encoded.len()))),
        }
    }
    Ok(bytes)
}

fn encode(parameter: &Parameter, element: Element) -> Result<Vec<u8>, FormatError> {
    match element {
        Element::Plain(dtype) if dtype == parameter.dtype => Ok(parameter.data.bytes().to_vec()),
        Element::Half if parameter.dtype == DType::F32 => {
            let half = |x: &f32| f16::from_f32(*x).to_le_bytes();
            Ok(parameter.data.elements::<f32>().iter().flat_map(half).collect())
        }
        Element::Brain if parameter.dtype == DType::F32 => {
            let brain = |x: &f32| bf16::from_f32(*x).to_le_bytes();
            Ok(parameter.data.elements::<f32>().iter().flat_map(brain).collect())
        }
        _ => Err(refused(parameter, format!("it is {}, the file holds another type", parameter.dtype))),
    }
}

fn refused(parameter: &Parameter, reason: String) -> FormatError {
    let layer = parameter.origin.layer.clone();
    let operator = parameter.origin.variable.clone();
    FormatError::Unsupported(vec![Unsupported { layer, operator, reason }])
}
