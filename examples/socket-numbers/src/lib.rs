//! The function of the socket-numbers example. It parses lines of text as numbers. A line that is not a number is an error, which ends
//! the attempt because of the pipeline's `on_fault`.

use cofferdam_sdk::prelude::*;

/// A number and its square.
#[derive(Debug, PartialEq, Record)]
struct Square {
    number: i64,
    square: i64,
}

/// Emits the number of a line and its square.
#[derive(Default)]
struct Parse;

#[function]
impl MapFunction for Parse {
    type In = Text;
    type Out = Square;

    fn map(&mut self, line: &str, _ctx: &mut Context) -> Result<Square> {
        let number: i64 = line.trim().parse().map_err(|error| format!("`{line}` is not a number: {error}"))?;
        let square = number.checked_mul(number).ok_or_else(|| format!("the square of {number} is too large"))?;
        Ok(Square { number, square })
    }
}

cofferdam_sdk::export!(Parse);

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_sdk::testing::Harness;

    #[test]
    fn a_line_becomes_a_number_and_its_square() -> Result {
        let mut harness = Harness::<Parse>::new();
        harness.push_batch([("", "12", 0), ("", " -3 ", 0), ("", "+007", 0)])?;
        let squares = [(12, 144), (-3, 9), (7, 49)].map(|(number, square)| Square { number, square });
        assert_eq!(harness.take_output()?, squares);
        Ok(())
    }

    #[test]
    fn a_line_that_is_not_a_number_is_named() {
        let error = |line: &str| Harness::<Parse>::new().push("", line, 0).expect_err("it is none").to_string();
        assert!(error("twelve").contains("`twelve` is not a number"));
        assert!(error("").contains("`` is not a number"));
        assert!(error("9223372036854775807").contains("too large"));
    }
}
