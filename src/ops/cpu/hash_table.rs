//! From ids to rows: open addressing with linear probing, 16-byte cells, and deletion that moves
//! later cells back instead of leaving marks.

/// The row of an id that is not in the table.
pub const NO_ROW: u32 = u32::MAX;

const INITIAL_CELLS: usize = 16;

#[derive(Clone, Copy)]
struct Cell {
    id: i64,
    /// [`NO_ROW`] marks an empty cell, so every id can be a key.
    row: u32,
}

const EMPTY: Cell = Cell { id: 0, row: NO_ROW };

/// The ids of one logical table and their rows.
pub struct Index {
    cells: Vec<Cell>,
    len: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self { cells: vec![EMPTY; INITIAL_CELLS], len: 0 }
    }
}

impl Index {
    /// The number of ids.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no ids.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The row of `id`, or [`NO_ROW`].
    pub fn find(&self, id: i64) -> u32 {
        self.cells[self.place(id)].row
    }

    /// The row of `id`; one that is not there takes the row that `allocate` returns.
    pub fn find_or_insert<E>(
        &mut self,
        id: i64,
        allocate: impl FnOnce() -> Result<u32, E>,
    ) -> Result<u32, E> {
        self.reserve(1);
        let place = self.place(id);
        if self.cells[place].row == NO_ROW {
            self.cells[place] = Cell { id, row: allocate()? };
            self.len += 1;
        }
        Ok(self.cells[place].row)
    }

    /// Removes `id` and returns its row, or [`NO_ROW`].
    pub fn erase(&mut self, id: i64) -> u32 {
        let mut hole = self.place(id);
        let row = self.cells[hole].row;
        if row == NO_ROW {
            return NO_ROW;
        }
        let mask = self.cells.len() - 1;
        let mut next = hole;
        loop {
            next = (next + 1) & mask;
            let cell = self.cells[next];
            if cell.row == NO_ROW {
                break;
            }
            // A cell may move back only if that does not carry it in front of its home.
            let from_home = next.wrapping_sub(home(cell.id, mask)) & mask;
            if from_home >= next.wrapping_sub(hole) & mask {
                self.cells[hole] = cell;
                hole = next;
            }
        }
        self.cells[hole] = EMPTY;
        self.len -= 1;
        row
    }

    /// Makes room for `additional` ids without another growth.
    pub fn reserve(&mut self, additional: usize) {
        // At most 2/3 full: beyond, probes get long.
        let needed = ((self.len + additional) * 3 / 2 + 1).next_power_of_two();
        if needed > self.cells.len() {
            let old = std::mem::replace(&mut self.cells, vec![EMPTY; needed]);
            for cell in old.into_iter().filter(|cell| cell.row != NO_ROW) {
                let place = self.place(cell.id);
                self.cells[place] = cell;
            }
        }
    }

    /// All ids and their rows, by ascending id.
    pub fn export(&self) -> (Vec<i64>, Vec<u32>) {
        let mut pairs: Vec<_> =
            self.cells.iter().filter(|cell| cell.row != NO_ROW).map(|cell| (cell.id, cell.row)).collect();
        pairs.sort_unstable();
        pairs.into_iter().unzip()
    }

    /// The cell that holds `id`, or the empty one where it would go.
    fn place(&self, id: i64) -> usize {
        let mask = self.cells.len() - 1;
        let mut place = home(id, mask);
        while self.cells[place].row != NO_ROW && self.cells[place].id != id {
            place = (place + 1) & mask;
        }
        place
    }
}

/// Where probing for an id begins. The multiplications of splitmix64 spread keys that agree in
/// their low or high bits.
fn home(id: i64, mask: usize) -> usize {
    let mut x = id as u64;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ (x >> 31)) as usize & mask
}
