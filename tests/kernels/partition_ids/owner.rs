//! Who owns each id.

use recis::ffi::recis_owner;
use recis::ffi::simt::recis_partition_ids_owner;
use recis::ops::cpu;
use recis::ops::partition_ids::Owner;

use crate::common::*;

const OWNERS: [(Owner, recis_owner); 2] =
    [(Owner::Slices, recis_owner::RECIS_OWNER_SLICES), (Owner::Balanced, recis_owner::RECIS_OWNER_BALANCED)];

/// Owners and counts, as on the CPU.
pub fn check(ids: &[i64], count: Option<u32>, world_size: usize) {
    let here = count.map_or(ids.len(), |count| ids.len().min(count as usize));
    let memory = Guarded::new(ids);
    let count = count.map(|count| Guarded::new(&[count]));
    for (owner, raw) in OWNERS {
        let (owners, counts) = (Guarded::new(&vec![7u32; ids.len()]), Guarded::new(&vec![7u32; world_size]));
        ok(unsafe {
            recis_partition_ids_owner(
                memory.ptr(),
                ids.len() as i64,
                count.as_ref().map_or(std::ptr::null(), |count| count.ptr()),
                world_size as i32,
                raw,
                owners.ptr(),
                counts.ptr(),
                STREAM,
            )
        });
        let (expected, expected_counts) = cpu::partition_ids::owners(&ids[..here], world_size, owner);
        let (got, what) = (owners.to_vec(), format!("{here} ids, {world_size} ranks, {owner:?}"));
        assert!(got[..here] == expected, "owners of {what}");
        assert!(got[here..].iter().all(|&owner| owner == 7), "owners behind those of {what}");
        assert!(counts.to_vec() == expected_counts, "counts of {what}");
    }
}

#[test]
fn forward() {
    for world_size in [1, 2, 3, 7, 8, 1000, 1024, 1025, 65_535, 65_536] {
        for len in [0, 1, 5, 1000] {
            check(&ids(len), None, world_size);
        }
        check(&ids(600), Some(257), world_size);
    }
    check(&ids(70), Some(0), 5);
    check(&ids(70), Some(71), 5);
    // Every residue, and more ids than a grid has threads.
    check(&(0..65_536).collect::<Vec<_>>(), None, 7);
    check(&ids(132 * 16 * 256 + 5), None, 8);
}

#[test]
fn bad_owners_are_refused_and_touch_nothing() {
    let null = std::ptr::null_mut::<u8>();
    let (ids, owners, counts) =
        (Guarded::new(&[1i64, 2]), Guarded::new(&[7u32; 2]), Guarded::new(&[7u32; 3]));
    let slices = recis_owner::RECIS_OWNER_SLICES;
    let refuse = |ids, count, world_size, owner, owners, counts, what: &str| {
        let status = unsafe {
            let stream = STREAM;
            recis_partition_ids_owner(ids, 2, count, world_size, owner, owners, counts, stream)
        };
        refused(status, &format!("partition_ids.owner: {what}"));
    };
    let (i, o, c) = (ids.ptr(), owners.ptr(), counts.ptr());
    let (none, all) = (null.cast(), std::ptr::null());
    refuse(i, all, 0, slices, o, c, "world_size is not within 1..=65536");
    refuse(i, all, 65_537, slices, o, c, "world_size is not within 1..=65536");
    refuse(i, all, 3, recis_owner(2), o, c, "owner is unknown");
    refuse(null.cast(), all, 3, slices, o, c, "ids is null");
    refuse(i, all, 3, slices, none, c, "owners is null");
    refuse(i, all, 3, slices, o, none, "counts is null");
    refuse(i, counts.misaligned(), 3, slices, o, c, "count is not aligned to 16 bytes");
    assert_eq!((owners.to_vec(), counts.to_vec()), (vec![7; 2], vec![7; 3]));
}
