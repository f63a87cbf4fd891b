//! `waterspout new`, `build` and `dev`, with tools that only write down what they were told.

mod dev;
mod mistakes;
mod python;
mod tools;
