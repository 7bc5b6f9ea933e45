use super::*;
use cofferdam_sdk::testing::Harness;

const ROW: &str = "2,11,UA,1545,N14228,EWR,IAH,2013-01-01T10:00:00Z";

fn parse(row: &str) -> Result<Vec<String>> {
    let mut harness = Harness::<Parse>::new();
    harness.push_raw("", row, 0)?;
    harness.take_text()
}

#[test]
fn a_row_becomes_a_departure() -> Result {
    let json =
        r#"{"tailnum":"N14228","carrier":"UA","flight":1545,"origin":"EWR","delay":2,"time":"2013-01-01T10:00:00Z"}"#;
    assert_eq!(parse(ROW)?, [json]);
    Ok(())
}

#[test]
fn a_flight_without_departure_or_aircraft_is_skipped() -> Result {
    assert!(parse("NA,NA,UA,1545,N14228,EWR,IAH,2013-01-01T10:00:00Z")?.is_empty());
    assert!(parse("2,11,UA,1545,NA,EWR,IAH,2013-01-01T10:00:00Z")?.is_empty());
    assert_eq!(parse("2,NA,UA,1545,N14228,EWR,IAH,2013-01-01T10:00:00Z")?.len(), 1);
    Ok(())
}

#[test]
fn a_bad_row_is_named() {
    let message = |row| parse(row).map(drop).expect_err("the row is bad").to_string();
    assert_eq!(
        message("2,11,UA,x,N1,EWR,IAH,t"),
        "record 0: input is not csv: column 4: `x` is not an unsigned integer of 32 bits"
    );
    assert!(message("2,11,UA").contains("invalid length 3"));
    assert!(message("soon,11,UA,1,N1,EWR,IAH,t").contains("dep_delay `soon`"));
}

#[test]
fn delays_add_up_and_the_last_ten_are_kept() -> Result {
    let mut harness = Harness::<Track>::new();
    for delay in 1..=12 {
        let flight = Departure {
            tailnum: "N1".into(),
            carrier: "UA".into(),
            flight: 1,
            origin: "EWR".into(),
            delay,
            time: "2013-01-01T10:00:00Z".into(),
        };
        harness.push("N1", &flight, 0)?;
        harness.push("N2", Departure { tailnum: "N2".into(), ..flight }, 0)?;
    }
    let rows = harness.take_text()?;
    assert_eq!(rows[0..3], ["N1,1,1,1", "N2,1,1,1", "N1,2,3,1;2"]);
    assert_eq!(rows[22..], ["N1,12,78,3;4;5;6;7;8;9;10;11;12", "N2,12,78,3;4;5;6;7;8;9;10;11;12"]);
    Ok(())
}
