use recis::device::Stream;
use recis::ops::encode_ids::{Column, Overflow, forward};

use crate::common::{each, each_with_kernels, on};

const FITS: i64 = (1 << 52) - 1;

fn run(table: u32, ids: &[i64], overflow: Overflow, stream: &Stream) -> recis::Result<Vec<i64>> {
    forward(&[Column { table, ids: &on(ids, stream) }], overflow, stream)?.to_vec(stream)
}

#[test]
fn ids_that_do_not_fit_lose_bits() {
    each(|stream| {
        let run = |table, ids: &[i64]| run(table, ids, Overflow::Cut, stream);
        assert_eq!(
            run(1, &[-1, 0, FITS, i64::MIN]).unwrap(),
            [(1 << 52) | FITS, 1 << 52, (1 << 52) | FITS, 1 << 52]
        );
        assert_eq!(run(4095, &[5]).unwrap(), [(4095u64 << 52) as i64 | 5]);
        assert_eq!(run(4096, &[]).unwrap_err().to_string(), "encode_ids: table 4096 does not fit in 12 bits");
        assert!(run(0, &[]).unwrap().is_empty());
        let many: Vec<i64> = (0..70_001).map(|i| i * 1_000_003).collect();
        let expected: Vec<i64> = many.iter().map(|id| id | 3 << 52).collect();
        assert_eq!(run(3, &many).unwrap(), expected);
    });
}

#[test]
fn columns_follow_one_another_and_ids_that_do_not_fit_may_be_refused() {
    let stream = &Stream::default();
    let run = |table, ids: &[i64], overflow| {
        let (nine, ids) = (on([9], stream), on(ids, stream));
        forward(&[Column { table: 0, ids: &nine }, Column { table, ids: &ids }], overflow, stream)?
            .to_vec(stream)
    };
    assert_eq!(run(2, &[FITS], Overflow::Refuse).unwrap(), [9, (2 << 52) | FITS]);
    assert_eq!(run(1, &[-1], Overflow::Cut).unwrap(), [9, (1 << 52) | FITS]);
    assert_eq!(
        run(1, &[3, -1], Overflow::Refuse).unwrap_err().to_string(),
        "encode_ids: id -1 (number 1) does not fit in 52 bits"
    );
}

#[test]
fn what_only_the_cpu_does_is_refused_elsewhere() {
    each_with_kernels(|stream| {
        let ids = on([1], stream);
        let column = Column { table: 0, ids: &ids };
        let error = forward(&[column; 2], Overflow::Cut, stream).unwrap_err().to_string();
        assert_eq!(error, "encode_ids: a device encodes one column a call");
        let error = run(0, &[1], Overflow::Refuse, stream).unwrap_err().to_string();
        let device = stream.device();
        assert_eq!(error, format!("device {device}: encode_ids that refuses has no kernel; run it on cpu"));
    });
}
