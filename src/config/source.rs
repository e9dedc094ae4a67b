//! Reading the file.
