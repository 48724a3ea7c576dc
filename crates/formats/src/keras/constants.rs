//! Constants and weights of a layer under construction.

use litesmith_graph::{DType, Shape, Tensor, TensorId};

use crate::emit::Emit;
use crate::keras::config::{Built, Numbers, numbers, unsupported};
use crate::keras::scope::{Operand, Scope};

/// Most elements of all constants together: models inside models, each called twice, would double them
/// at every level.
const MOST_CONSTANT_ELEMENTS: usize = 1 << 26;

impl Scope<'_> {
    /// A constant.
    pub fn constant(&mut self, name: &str, numbers: Numbers) -> Built<TensorId> {
        self.target.constant_elements = self.target.constant_elements.saturating_add(numbers.values.len());
        if self.target.constant_elements > MOST_CONSTANT_ELEMENTS {
            return Err(self.broken("the constants of the model are too many").into());
        }
        let name = format!("{}/{name}", self.layer.path);
        Ok(self.target.add(Tensor::floats(&name, &numbers.shape, numbers.values)))
    }

    /// The product of sizes, which must be one that a constant of the model can have.
    pub fn affordable(&self, sizes: &[usize]) -> Built<usize> {
        let product = sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        match product.filter(|product| *product <= MOST_CONSTANT_ELEMENTS) {
            Some(product) => Ok(product),
            None => Err(self.broken(format!("it needs a constant of sizes {sizes:?}")).into()),
        }
    }

    /// A constant of few integers, such as sizes.
    pub fn small_integers(&mut self, name: &str, shape: &[usize], values: &[i32]) -> TensorId {
        let name = format!("{}/{name}", self.layer.path);
        let tensor = Tensor { shape: Shape::fixed(shape), ..Tensor::integers(&name, values) };
        self.target.add(tensor)
    }

    /// An operand as a tensor of single-precision numbers.
    pub fn float_operand(&mut self, place: usize, names: &[&str]) -> Built<TensorId> {
        match self.operand(place, names).cloned() {
            Some(Operand::Tensor(id)) => {
                if self.target.facts[id.index()].dtype != DType::F32 {
                    let dtype = self.target.facts[id.index()].dtype;
                    unsupported!(
                        "arithmetic on {dtype} is not supported; cast the operands to float32 first"
                    );
                }
                Ok(id)
            }
            Some(operand) => match operand.value().as_ref().and_then(numbers) {
                Some(numbers) => self.constant(names.first().copied().unwrap_or("constant"), numbers),
                None => unsupported!("operand {place} is neither a tensor nor numbers"),
            },
            None => Err(self.broken(format!("operand {place} is missing")).into()),
        }
    }

    /// A weight of the layer, which must have this shape; rounded, where integers are simulated.
    pub fn weight(&mut self, variable: &'static str, shape: &[usize]) -> Built<TensorId> {
        let weight = self.stored(variable, shape)?;
        let Some(rounding) = self.target.rounded.get(&(self.layer.id, variable)).cloned() else {
            return Ok(weight);
        };
        let ranges = rounding.quantization.scales.len();
        if rounding.quantization.axis.is_some_and(|axis| shape.get(axis) != Some(&ranges)) {
            let reason = format!("it has {ranges} ranges for its variable '{variable}' of shape {shape:?}");
            return Err(self.broken(reason).into());
        }
        self.laid_out(weight, rounding)
    }

    fn stored(&mut self, variable: &'static str, shape: &[usize]) -> Built<TensorId> {
        let Some(id) = self.target.weights.get(&(self.layer.id, variable)).copied() else {
            return Err(self.broken(format!("its variable '{variable}' is missing from the file")).into());
        };
        if let Some(tensor) = self.target.parameters.get(&id) {
            return self.checked(*tensor, variable, shape);
        }
        let Some(parameter) = self.target.model.parameter(id) else {
            return Err(self.broken(format!("its variable '{variable}' is missing from the file")).into());
        };
        let name = format!("{}/{variable}", self.layer.path);
        let tensor = Tensor::parameter(&name, parameter.dtype, Shape::fixed(&parameter.shape), id);
        let tensor = self.target.add(tensor);
        self.target.parameters.insert(id, tensor);
        self.checked(tensor, variable, shape)
    }

    fn checked(&self, tensor: TensorId, variable: &str, shape: &[usize]) -> Built<TensorId> {
        let stored = self.shape(tensor);
        if stored != Shape::fixed(shape) {
            let reason =
                format!("its variable '{variable}' has shape {stored}, its configuration asks for {shape:?}");
            return Err(self.broken(reason).into());
        }
        Ok(tensor)
    }
}
