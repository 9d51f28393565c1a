use recis::device::{Buffer, Stream};
use recis::ops::encode_ids::{Column, Overflow, forward};

fn run(table: u32, ids: Vec<i64>, overflow: Overflow) -> recis::Result<Vec<i64>> {
    let ids = Buffer::from(ids);
    let columns = [Column { table: 0, ids: &Buffer::from(vec![9]) }, Column { table, ids: &ids }];
    Ok(forward(&columns, overflow, &Stream::default())?.host().to_vec())
}

#[test]
fn ids_that_do_not_fit_lose_bits_or_are_refused() {
    let fits = (1i64 << 52) - 1;
    assert_eq!(run(2, vec![fits], Overflow::Refuse).unwrap(), [9, (2 << 52) | fits]);
    assert_eq!(run(1, vec![-1], Overflow::Cut).unwrap(), [9, (1 << 52) | fits]);
    assert_eq!(
        run(1, vec![3, -1], Overflow::Refuse).unwrap_err().to_string(),
        "encode_ids: id -1 (number 1) does not fit in 52 bits"
    );
    assert_eq!(
        run(4096, vec![], Overflow::Cut).unwrap_err().to_string(),
        "encode_ids: table 4096 does not fit in 12 bits"
    );
}
