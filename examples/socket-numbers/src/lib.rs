//! The function of the socket-numbers example: lines of text as numbers. A line that is none is an error, and by the
//! pipeline's `on_fault` the end of the attempt.

use cofferdam_sdk::prelude::*;

/// Emits the number of a line, and its square.
#[derive(Default)]
struct Parse;

#[function]
impl MapFunction for Parse {
    type In = Text;
    type Out = Csv<(i64, i64)>;

    fn map(&mut self, line: &str, _ctx: &mut Context) -> Result<(i64, i64)> {
        let number: i64 = line.trim().parse().map_err(|error| format!("`{line}` is no number: {error}"))?;
        let square = number.checked_mul(number).ok_or_else(|| format!("the square of {number} is too large"))?;
        Ok((number, square))
    }
}

cofferdam_sdk::export!(Parse);

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_sdk::testing::Harness;

    #[test]
    fn a_line_is_a_number() -> Result {
        let mut harness = Harness::<Parse>::new();
        harness.push_raw_batch([("", "12", 0), ("", " -3 ", 0), ("", "+007", 0)])?;
        assert_eq!(harness.take_text()?, ["12,144", "-3,9", "7,49"]);
        Ok(())
    }

    #[test]
    fn what_is_no_number_is_named() {
        let error = |line: &str| Harness::<Parse>::new().push("", line, 0).expect_err("it is none").to_string();
        assert!(error("twelve").contains("`twelve` is no number"));
        assert!(error("").contains("`` is no number"));
        assert!(error("9223372036854775807").contains("too large"));
    }
}
