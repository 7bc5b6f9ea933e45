use super::*;
use cofferdam_sdk::testing::Harness;

fn flight<'a>(tailnum: &'a str, dep_delay: &'a str) -> Flight<'a> {
    Flight { tailnum, carrier: "UA", flight: 1545, dep_delay }
}

fn parse(flight: Flight) -> Result<Vec<OwnedDeparture>> {
    let mut harness = Harness::<Parse>::new();
    harness.push((), flight, 0)?;
    harness.take_output()
}

#[test]
fn a_flight_becomes_a_departure() -> Result {
    let departure = Departure { tailnum: "N14228", carrier: "UA", flight: 1545, delay: 2 };
    assert_eq!(parse(flight("N14228", "2"))?, [departure.into()]);
    Ok(())
}

#[test]
fn a_flight_without_departure_or_aircraft_is_skipped() -> Result {
    assert!(parse(flight("N14228", "NA"))?.is_empty());
    assert!(parse(flight("NA", "2"))?.is_empty());
    Ok(())
}

#[test]
fn a_bad_delay_is_named() {
    let error = parse(flight("N1", "soon")).map(drop).expect_err("the delay is bad").to_string();
    assert!(error.contains("dep_delay `soon`"), "{error}");
}

#[test]
fn delays_add_up_and_the_last_ten_are_kept() -> Result {
    let mut harness = Harness::<Track>::new();
    for delay in 1..=12 {
        for tailnum in ["N1", "N2"] {
            harness.push(tailnum, Departure { tailnum, carrier: "UA", flight: 1, delay }, 0)?;
        }
    }
    let delays = |tailnum, flights, total_delay, last_delays| -> OwnedDelays {
        Delays { tailnum, flights, total_delay, last_delays }.into()
    };
    let emitted = harness.take_output()?;
    assert_eq!(emitted[0..3], [delays("N1", 1, 1, "1"), delays("N2", 1, 1, "1"), delays("N1", 2, 3, "1;2")]);
    assert_eq!(emitted[23], delays("N2", 12, 78, "3;4;5;6;7;8;9;10;11;12"));
    Ok(())
}
