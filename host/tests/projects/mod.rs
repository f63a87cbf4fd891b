//! `waterspout new` and `waterspout build`, with tools that only write down what they were told.

mod python;
