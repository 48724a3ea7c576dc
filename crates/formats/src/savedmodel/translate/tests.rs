//! Small flows, family by family.
