//! Matrices in registers: eight tiles of 16 rows of 64 bytes, as the instructions of AMX see them.

#[cfg(target_arch = "x86_64")]
pub(crate) use amx::{Amx, granted, products};

/// Rows of a tile.
pub(super) const ROWS: usize = 16;

/// Bytes of a row.
pub(super) const ROW_BYTES: usize = 64;

/// Bytes that come for one request: a cache line. Machines with tiles bring lines into the second-level cache in
/// pairs by themselves, but where every line is asked for, layers that wait for weights take up to a seventh less.
pub(super) const ASKED_BYTES: usize = 64;

/// Tiles whose rows may be fewer: sums and inputs.
const NARROW: usize = 6;

/// Sums of a row.
pub(super) const SUMS: usize = ROW_BYTES / size_of::<i32>();

/// A set of eight tiles, 0 to 7, in the calling thread.
pub(crate) trait Tiles {
    /// Whether the machine has AVX-512 wherever it has these tiles, so that sums may be finished in
    /// its registers.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "vectors of x86 alone read it"))]
    const VECTORS: bool;

    /// The tiles of this thread, with anything in them. Tiles 0 to 5 have so many rows (1 to [`ROWS`]), the
    /// others all: products take as long as the sums have rows.
    ///
    /// # Safety
    /// The machine must have them.
    unsafe fn new(rows: usize) -> Self;

    /// Loads a tile from rows that are `stride` bytes apart.
    ///
    /// # Safety
    /// Every row that the tile has must be readable.
    unsafe fn load<const TILE: usize>(&mut self, rows: *const u8, stride: usize);

    /// Asks for `count` bytes to be brought closer, to the second-level cache, in steps of [`ASKED_BYTES`].
    fn ask(&self, bytes: *const u8, count: usize);

    /// Adds products to the 32-bit sums of a tile: to sum `j` of row `i`, for `k` from 0 to 63, byte
    /// `k` of row `i` of tile `A`, unsigned, times byte `4 j + k % 4` of row `k / 4` of tile `B`,
    /// signed. Sums wrap around. `SUM` and `A` are among the first six tiles, `B` is not.
    ///
    /// # Safety
    /// The machine must have the tiles.
    unsafe fn dot<const SUM: usize, const A: usize, const B: usize>(&mut self);

    /// Stores the rows of a tile of sums.
    ///
    /// # Safety
    /// The machine must have the tiles.
    unsafe fn store<const TILE: usize>(&self, sums: &mut [[i32; SUMS]; ROWS]);
}

/// Tiles in memory, for every machine: what others are tested against.
#[cfg(test)]
pub(super) struct Portable<const VECTORS: bool> {
    tiles: [[[u8; ROW_BYTES]; ROWS]; 8],
    rows: usize,
}

#[cfg(test)]
impl<const VECTORS: bool> Portable<VECTORS> {
    /// The rows that a tile has.
    fn rows_of(&self, tile: usize) -> usize {
        if tile < NARROW { self.rows } else { ROWS }
    }
}

#[cfg(test)]
impl<const VECTORS: bool> Tiles for Portable<VECTORS> {
    const VECTORS: bool = VECTORS;

    unsafe fn new(rows: usize) -> Self {
        // What was there before must not matter.
        Portable { tiles: [[[0xa5; ROW_BYTES]; ROWS]; 8], rows }
    }

    unsafe fn load<const TILE: usize>(&mut self, rows: *const u8, stride: usize) {
        let count = self.rows_of(TILE);
        for (index, row) in self.tiles[TILE].iter_mut().enumerate().take(count) {
            // SAFETY: the caller's promise.
            *row = unsafe { rows.add(index * stride).cast::<[u8; ROW_BYTES]>().read_unaligned() };
        }
    }

    fn ask(&self, _bytes: *const u8, _count: usize) {}

    unsafe fn dot<const SUM: usize, const A: usize, const B: usize>(&mut self) {
        const { assert!(SUM < NARROW && A < NARROW && B >= NARROW) };
        let (a, b, rows) = (self.tiles[A], self.tiles[B], self.rows);
        for (sums, a) in self.tiles[SUM].iter_mut().zip(a).take(rows) {
            for (column, sum) in sums.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let products = (0..ROW_BYTES).map(|k| {
                    let weight = b[k / 4][4 * column + k % 4] as i8;
                    i32::from(a[k]) * i32::from(weight)
                });
                *sum = products.fold(i32::from_ne_bytes(*sum), i32::wrapping_add).to_ne_bytes();
            }
        }
    }

    unsafe fn store<const TILE: usize>(&self, sums: &mut [[i32; SUMS]; ROWS]) {
        for (sums, row) in sums.iter_mut().zip(&self.tiles[TILE]).take(self.rows_of(TILE)) {
            for (sum, bytes) in sums.iter_mut().zip(row.as_chunks::<4>().0) {
                *sum = i32::from_ne_bytes(*bytes);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod amx {
    use std::arch::asm;
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    use std::cell::Cell;
    use std::sync::OnceLock;

    use super::{ASKED_BYTES, NARROW, ROW_BYTES, ROWS, SUMS, Tiles};

    /// The tiles of AMX.
    pub(crate) struct Amx(());

    /// Whether the processor has tiles with products of bytes and the system lets this process use
    /// them. Asks the system the first time.
    pub(crate) fn granted() -> bool {
        static GRANTED: OnceLock<bool> = OnceLock::new();
        *GRANTED.get_or_init(|| present() && permitted())
    }

    /// Does `rounds` rounds of products on four tiles of sums, enough to hide their latency, and tells
    /// how many multiply-accumulates that were.
    ///
    /// # Panics
    /// If the tiles are not [`granted`].
    pub(crate) fn products(rounds: usize) -> usize {
        assert!(granted(), "this machine has no tiles");
        // SAFETY: the machine has the tiles.
        unsafe {
            let mut tiles = Amx::new(ROWS);
            for _ in 0..rounds {
                tiles.dot::<0, 4, 6>();
                tiles.dot::<1, 4, 6>();
                tiles.dot::<2, 4, 6>();
                tiles.dot::<3, 4, 6>();
            }
        }
        rounds * 4 * ROWS * SUMS * ROW_BYTES
    }

    /// Whether processor and system know the instructions and the registers.
    fn present() -> bool {
        use std::arch::x86_64::{__cpuid, __cpuid_count};
        const OSXSAVE: u32 = 1 << 27;
        const TILE: u32 = 1 << 24;
        const INT8: u32 = 1 << 25;
        /// Configuration and data of tiles in the registers that the system saves.
        const SAVED: u32 = 1 << 17 | 1 << 18;
        if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
            return false;
        }
        if __cpuid_count(7, 0).edx & (TILE | INT8) != TILE | INT8 {
            return false;
        }
        let saved: u32;
        // SAFETY: with OSXSAVE, `xgetbv` reads which registers the system saves.
        unsafe {
            asm!("xgetbv", in("ecx") 0, out("eax") saved, out("edx") _, options(nomem, nostack, preserves_flags));
        }
        saved & SAVED == SAVED
    }

    /// Asks the system to let this process use tiles: it then makes room for their data where it
    /// saves a thread's registers.
    #[cfg(target_os = "linux")]
    fn permitted() -> bool {
        const ARCH_PRCTL: usize = 158;
        const REQUEST_PERMISSION: usize = 0x1023;
        const TILE_DATA: usize = 18;
        let result: isize;
        // SAFETY: a system call that takes two numbers and touches no memory of this process.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") ARCH_PRCTL => result,
                in("rdi") REQUEST_PERMISSION,
                in("rsi") TILE_DATA,
                out("rcx") _,
                out("r11") _,
                options(nostack),
            );
        }
        result == 0
    }

    /// Other systems have ways of their own, which this crate does not know.
    #[cfg(not(target_os = "linux"))]
    fn permitted() -> bool {
        false
    }

    /// Tiles that there are.
    const TILES: usize = 8;

    /// How the tiles are used, as `ldtilecfg` takes it.
    #[repr(C, align(64))]
    struct Configuration {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    impl Configuration {
        /// All eight tiles as large as they can be, but for the rows of the first.
        fn new(rows: usize) -> Configuration {
            let row_bytes = |tile| if tile < TILES { ROW_BYTES as u16 } else { 0 };
            let rows = |tile| match tile {
                ..NARROW => rows as u8,
                NARROW..TILES => ROWS as u8,
                _ => 0,
            };
            Configuration {
                palette: 1,
                start_row: 0,
                reserved: [0; 14],
                row_bytes: std::array::from_fn(row_bytes),
                rows: std::array::from_fn(rows),
            }
        }
    }

    thread_local! {
        /// The rows for which this thread has configured its tiles; 0 stands for tiles not yet configured.
        static CONFIGURED: Cell<usize> = const { Cell::new(0) };
    }

    impl Tiles for Amx {
        const VECTORS: bool = true;

        #[inline]
        unsafe fn new(rows: usize) -> Amx {
            assert!((1..=ROWS).contains(&rows), "rows of a tile");
            if CONFIGURED.get() != rows {
                let configuration = Configuration::new(rows);
                // SAFETY: the machine has the tiles; reads 64 bytes and changes tiles only, which
                // nothing but this file uses.
                unsafe {
                    asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(readonly, nostack, preserves_flags));
                }
                CONFIGURED.set(rows);
            }
            Amx(())
        }

        #[inline(always)]
        unsafe fn load<const TILE: usize>(&mut self, rows: *const u8, stride: usize) {
            // SAFETY: reads what the caller vouches for and changes a tile only.
            unsafe {
                asm!(
                    "tileloadd tmm{tile}, [{rows} + {stride}*1]",
                    tile = const TILE,
                    rows = in(reg) rows,
                    stride = in(reg) stride,
                    options(readonly, nostack, preserves_flags),
                );
            }
        }

        #[inline(always)]
        fn ask(&self, bytes: *const u8, count: usize) {
            for line in (0..count).step_by(ASKED_BYTES) {
                // SAFETY: a request without effect but on caches, which never fails.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(bytes.wrapping_add(line).cast()) };
            }
        }

        #[inline(always)]
        unsafe fn dot<const SUM: usize, const A: usize, const B: usize>(&mut self) {
            // SAFETY: changes a tile only.
            unsafe {
                asm!(
                    "tdpbusd tmm{sum}, tmm{a}, tmm{b}",
                    sum = const SUM,
                    a = const A,
                    b = const B,
                    options(nomem, nostack, preserves_flags),
                );
            }
        }

        #[inline(always)]
        unsafe fn store<const TILE: usize>(&self, sums: &mut [[i32; SUMS]; ROWS]) {
            // SAFETY: writes 16 rows of 64 bytes.
            unsafe {
                asm!(
                    "tilestored [{sums} + {stride}*1], tmm{tile}",
                    tile = const TILE,
                    sums = in(reg) sums.as_mut_ptr(),
                    stride = in(reg) ROW_BYTES,
                    options(nostack, preserves_flags),
                );
            }
        }
    }
}
