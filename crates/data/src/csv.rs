//! Tables of numbers: one sample a line, perhaps a header, perhaps a label.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::path::Path;

use crate::fit::fill;
use crate::{Array, DataError, ElementType, InputSpec};

/// Longest line that is read.
const MAX_LINE: usize = 64 << 20;

/// What a table holds.
#[derive(Debug)]
pub(crate) struct Table {
    /// The rows without their labels, `f32` unless the input is of a type that `f32` may not hold.
    pub(crate) values: Array,
    pub(crate) targets: Option<Array>,
    /// The names of the classes in the order of their numbers, if the labels are words.
    pub(crate) class_names: Option<Vec<String>>,
}

/// Reads a table for `input`.
///
/// The columns are separated by commas, semicolons, tabs or blanks, whichever comes first in that
/// order in the first line. Empty lines and lines that start with `#` are skipped. The first line is
/// a header if it has a word where the second has a number, or nothing but words; one that does not
/// name every column (scikit-learn's tables start with counts and class names) is passed over. A row
/// has as many values as the input has elements, or one more: then the column called `label` or `y`,
/// else the last one, is the label (a number, or a word; words are numbered in alphabetical order).
pub(crate) fn read(
    reader: impl BufRead,
    path: &Path,
    input: &InputSpec,
    max_memory: u64,
) -> Result<Table, DataError> {
    let mut lines = Lines { reader, path, number: 0, text: Vec::new() };
    let Some(first) = lines.next_line()?.map(str::to_owned) else {
        return Err(DataError::Empty { path: path.to_owned(), what: "no lines".to_owned() });
    };
    let first_number = lines.number;
    let separator = Separator::of(&first);
    let first: Vec<String> = separator.fields(&first).map(str::to_owned).collect();
    let second = lines.next_line()?.map(str::to_owned);
    let second: Option<Vec<&str>> = second.as_deref().map(|line| separator.fields(line).collect());
    let header = is_header(&first, second.as_deref());
    let count = second.as_ref().filter(|_| header).map_or(first.len(), Vec::len);
    let names = Some(first.as_slice()).filter(|names| header && names.len() == count);
    let mut rows = Rows::new(Columns::of(count, names, input)?, input, max_memory);
    if !header {
        rows.push(first.iter().map(String::as_str), path, first_number)?;
    }
    if let Some(second) = second {
        rows.push(second.into_iter(), path, lines.number)?;
        while let Some(line) = lines.next_line()? {
            let line = line.to_owned();
            rows.push(separator.fields(&line), path, lines.number)?;
        }
    }
    rows.finish(path)
}

/// The lines that count, with bounded length.
struct Lines<'a, R> {
    reader: R,
    path: &'a Path,
    number: usize,
    text: Vec<u8>,
}

impl<R: BufRead> Lines<'_, R> {
    fn next_line(&mut self) -> Result<Option<&str>, DataError> {
        loop {
            self.text.clear();
            self.number += 1;
            let mut line = (&mut self.reader).take(MAX_LINE as u64);
            let read = line.read_until(b'\n', &mut self.text);
            if read.map_err(|error| DataError::reading(self.path, error))? == 0 {
                return Ok(None);
            }
            if self.text.len() == MAX_LINE {
                return Err(self.broken("a line of more than 64 MiB"));
            }
            if self.number == 1 && self.text.starts_with(b"\xEF\xBB\xBF") {
                self.text.drain(..3);
            }
            let blank = self.text.iter().all(u8::is_ascii_whitespace);
            if !blank && self.text[0] != b'#' {
                break;
            }
        }
        match std::str::from_utf8(&self.text) {
            Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']))),
            Err(_) => Err(self.broken("not UTF-8 text")),
        }
    }

    fn broken(&self, what: &str) -> DataError {
        DataError::broken(self.path, format!("line {}: {what}", self.number))
    }
}

#[derive(Clone, Copy)]
enum Separator {
    Mark(char),
    Blanks,
}

impl Separator {
    fn of(line: &str) -> Self {
        [',', ';', '\t'].into_iter().find(|&mark| line.contains(mark)).map_or(Self::Blanks, Self::Mark)
    }

    /// The fields of a line, without blanks and quotes around them.
    fn fields<'l>(self, line: &'l str) -> Box<dyn Iterator<Item = &'l str> + 'l> {
        match self {
            Self::Blanks => Box::new(line.split_ascii_whitespace().map(bare)),
            Self::Mark(mark) => {
                // A mark between quotes is text.
                let mut quoted = false;
                let ends = move |c: char| {
                    quoted ^= c == '"';
                    c == mark && !quoted
                };
                Box::new(line.split(ends).map(bare))
            }
        }
    }
}

fn bare(field: &str) -> &str {
    let field = field.trim();
    field.strip_prefix('"').and_then(|field| field.strip_suffix('"')).unwrap_or(field)
}

fn is_number(field: &str) -> bool {
    field.parse::<f64>().is_ok()
}

fn is_header(first: &[String], second: Option<&[&str]>) -> bool {
    let no_numbers = !first.iter().any(|field| is_number(field));
    no_numbers
        || second.is_some_and(|second| {
            first.iter().zip(second).any(|(first, second)| !is_number(first) && is_number(second))
        })
}

/// How many fields a row has and which one is the label.
#[derive(Clone)]
struct Columns {
    count: usize,
    label: Option<usize>,
    /// The input's shape as the other columns fill it.
    shape: Vec<usize>,
}

impl Columns {
    fn of(count: usize, names: Option<&[String]>, input: &InputSpec) -> Result<Self, DataError> {
        let is_label = |name: &String| ["label", "y"].contains(&name.to_lowercase().as_str());
        let named = names.and_then(|names| names.iter().position(is_label));
        let free = input.shape.contains(&None);
        let without_label = if free && named.is_some() { None } else { fill(&input.shape, count) };
        if let Some(shape) = without_label {
            return Ok(Self { count, label: None, shape });
        }
        // With a free dimension any row could have a label: only a named one is believed.
        let label = named.or((!free && count > 1).then(|| count - 1));
        let shape = label.and_then(|_| fill(&input.shape, count - 1));
        let wrong = || DataError::WrongShape {
            input: input.name.clone(),
            expected: input.shape.clone(),
            got: vec![count],
        };
        Ok(Self { count, label, shape: shape.ok_or_else(wrong)? })
    }
}

/// The values read so far.
struct Rows {
    columns: Columns,
    samples: usize,
    values: Values,
    max_memory: u64,
    labels: Labels,
}

enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

enum Labels {
    None,
    Numbers(Vec<f64>),
    Words(Vec<String>),
}

impl Rows {
    fn new(columns: Columns, input: &InputSpec, max_memory: u64) -> Self {
        let f32_holds = matches!(
            input.dtype,
            ElementType::F16
                | ElementType::F32
                | ElementType::I8
                | ElementType::U8
                | ElementType::I16
                | ElementType::U16
                | ElementType::Bool
        );
        let values = if f32_holds { Values::F32(Vec::new()) } else { Values::F64(Vec::new()) };
        Self { columns, samples: 0, values, max_memory, labels: Labels::None }
    }

    fn push<'f>(
        &mut self,
        fields: impl Iterator<Item = &'f str>,
        path: &Path,
        line: usize,
    ) -> Result<(), DataError> {
        let broken = |what: String| DataError::broken(path, format!("line {line}: {what}"));
        let mut count = 0;
        for (column, field) in fields.enumerate() {
            count += 1;
            if Some(column) == self.columns.label {
                self.labels.push(field).map_err(broken)?;
                continue;
            }
            let parsed = match &mut self.values {
                Values::F32(values) => field.parse().map(|value| values.push(value)),
                Values::F64(values) => field.parse().map(|value| values.push(value)),
            };
            parsed.map_err(|_| broken(format!("column {}: `{field}` is not a number", column + 1)))?;
        }
        if count != self.columns.count {
            return Err(broken(format!("{count} columns, the lines before have {}", self.columns.count)));
        }
        self.samples += 1;
        let bytes = match &self.values {
            Values::F32(values) => size_of_val(values.as_slice()) as u64,
            Values::F64(values) => size_of_val(values.as_slice()) as u64,
        };
        if bytes > self.max_memory {
            let what = format!("{} (a table, held whole)", path.display());
            return Err(DataError::TooLarge { what, bytes, limit: self.max_memory });
        }
        Ok(())
    }

    fn finish(self, path: &Path) -> Result<Table, DataError> {
        if self.samples == 0 {
            return Err(DataError::Empty { path: path.to_owned(), what: "only a header".to_owned() });
        }
        let shape = [&[self.samples], self.columns.shape.as_slice()].concat();
        let values = match self.values {
            Values::F32(values) => Array::from_slice(&shape, &values)?,
            Values::F64(values) => Array::from_slice(&shape, &values)?,
        };
        let (targets, class_names) = self.labels.finish()?;
        Ok(Table { values, targets, class_names })
    }
}

impl Labels {
    /// Numbers or words, as the first label is.
    fn push(&mut self, field: &str) -> Result<(), String> {
        if field.is_empty() {
            return Err("an empty label".to_owned());
        }
        let number = field.parse::<f64>().ok();
        match (&mut *self, number) {
            (Self::None, Some(number)) => *self = Self::Numbers(vec![number]),
            (Self::None, None) => *self = Self::Words(vec![field.to_owned()]),
            (Self::Numbers(numbers), Some(number)) => numbers.push(number),
            (Self::Numbers(_), None) => return Err(format!("the label `{field}` is not a number")),
            (Self::Words(words), _) => words.push(field.to_owned()),
        }
        Ok(())
    }

    fn finish(self) -> Result<(Option<Array>, Option<Vec<String>>), DataError> {
        match self {
            Self::None => Ok((None, None)),
            Self::Numbers(numbers) => Ok((Some(Array::from_slice(&[numbers.len()], &numbers)?), None)),
            Self::Words(words) => {
                let mut ranks: BTreeMap<&str, u32> = words.iter().map(|word| (word.as_str(), 0)).collect();
                for (rank, number) in (0..).zip(ranks.values_mut()) {
                    *number = rank;
                }
                let labels: Vec<u32> = words.iter().map(|word| ranks[word.as_str()]).collect();
                let names = ranks.keys().map(|&name| name.to_owned()).collect();
                Ok((Some(Array::from_slice(&[labels.len()], &labels)?), Some(names)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::labels;

    fn table_for(text: &str, shape: &[Option<usize>], dtype: ElementType) -> Result<Table, DataError> {
        read(text.as_bytes(), Path::new("t.csv"), &InputSpec::new("x", shape, dtype), 1 << 20)
    }

    fn table(text: &str, elements: usize) -> Result<Table, DataError> {
        table_for(text, &[Some(elements)], ElementType::F32)
    }

    #[test]
    fn the_last_column_or_the_named_one_is_the_label() {
        let plain = table("1,2,7\n3,4,8\n", 2).unwrap();
        assert_eq!(*plain.values.to_f32(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(labels(&plain.targets.unwrap()), Some(vec![7, 8]));
        for text in ["label,a,b\n7,1,2\n8,3,4", "a, Y, b\r\n1, 7, 2\r\n\r\n3, 8, 4\r\n"] {
            let named = table(text, 2).unwrap();
            assert_eq!(*named.values.to_f32(), [1.0, 2.0, 3.0, 4.0], "{text}");
            assert_eq!(labels(&named.targets.unwrap()), Some(vec![7, 8]));
        }
    }

    #[test]
    fn without_a_spare_column_there_is_no_label() {
        let unlabelled = table("a,b\n1,2\n3,4\n", 2).unwrap();
        assert!(unlabelled.targets.is_none());
        assert_eq!(unlabelled.values.shape(), [2, 2]);
        let square = table_for("1 2 3 4\n", &[Some(2), Some(2), Some(1)], ElementType::F32).unwrap();
        assert_eq!(square.values.shape(), [1, 2, 2, 1]);
    }

    #[test]
    fn headers_and_separators_are_detected() {
        // The header of scikit-learn's iris.csv: counts, then class names.
        let iris = "150,4,setosa,versicolor,virginica\n5.1,3.5,1.4,0.2,0\n4.9,3.0,1.4,0.2,2\n";
        assert_eq!(table(iris, 4).unwrap().values.shape(), [2, 4]);
        // That of its breast_cancer.csv does not even have as many columns.
        assert_eq!(table("2,3,malignant,benign\n1,2,3,4,5,0\n", 5).unwrap().values.shape(), [1, 5]);
        for text in
            ["1;2\n3;4", "1\t2\n3\t4", "1 2\n 3  4 ", "# a b\n1 2\n# between\n3 4\n", "\u{feff}1,2\n3,4"]
        {
            assert_eq!(*table(text, 2).unwrap().values.to_f32(), [1.0, 2.0, 3.0, 4.0], "{text:?}");
        }
        let quoted = table("\"a,b\",\"c\"\n\"1\",2\n", 2).unwrap();
        assert_eq!(*quoted.values.to_f32(), [1.0, 2.0]);
    }

    #[test]
    fn words_are_numbered_alphabetically() {
        let words = table("1,2,dog\n3,4,cat\n5,6,dog\n", 2).unwrap();
        assert_eq!(labels(&words.targets.unwrap()), Some(vec![1, 0, 1]));
        assert_eq!(words.class_names, Some(vec!["cat".to_owned(), "dog".to_owned()]));
    }

    #[test]
    fn targets_may_be_fractions() {
        let targets = table("1,2,0.5\n3,4,1\n", 2).unwrap().targets.unwrap();
        assert_eq!((targets.to_f32().to_vec(), labels(&targets)), (vec![0.5, 1.0], None));
    }

    #[test]
    fn a_free_dimension_is_filled() {
        let free = [None, Some(2)];
        assert_eq!(table_for("1,2,3,4\n", &free, ElementType::F32).unwrap().values.shape(), [1, 2, 2]);
        let named = table_for("y,a,b\n1,2,3\n", &free, ElementType::F32).unwrap();
        assert_eq!((named.values.shape(), named.targets.is_some()), (&[1, 1, 2][..], true));
        assert!(table_for("1,2,3\n", &free, ElementType::F32).is_err());
    }

    #[test]
    fn large_integers_survive() {
        let ids = table_for("16777217\n", &[Some(1)], ElementType::I32).unwrap();
        let ids = ids.values.convert(ElementType::I32).unwrap();
        assert_eq!(ids.as_slice::<i32>(), Some([16_777_217].as_slice()));
    }

    #[test]
    fn errors_name_line_and_column() {
        let message = |text: &str| table(text, 2).unwrap_err().to_string();
        assert_eq!(message("1,2\n3,x\n"), "t.csv: line 2: column 2: `x` is not a number");
        assert_eq!(message("1,2\n3,\n"), "t.csv: line 2: column 2: `` is not a number");
        assert_eq!(message("1,2\n3\n"), "t.csv: line 2: 1 columns, the lines before have 2");
        assert_eq!(message("1,2,1\n3,4,b\n"), "t.csv: line 2: the label `b` is not a number");
        assert_eq!(message("1,2,3,4\n"), "input `x` needs samples of shape [2], got [4]");
        assert!(matches!(table("", 2), Err(DataError::Empty { .. })));
        assert!(matches!(table("a,b\n", 2), Err(DataError::Empty { .. })));
        let not_text = read(
            &b"1,2\n\xFF,1\n"[..],
            Path::new("t"),
            &InputSpec::new("x", &[Some(2)], ElementType::F32),
            99,
        );
        assert!(not_text.unwrap_err().to_string().contains("line 2: not UTF-8"));
    }

    #[test]
    fn a_table_obeys_the_limit() {
        let input = InputSpec::new("x", &[Some(2)], ElementType::F32);
        let error = read("1,2\n".repeat(20).as_bytes(), Path::new("t"), &input, 100).unwrap_err();
        assert!(matches!(error, DataError::TooLarge { limit: 100, .. }), "{error}");
    }
}
