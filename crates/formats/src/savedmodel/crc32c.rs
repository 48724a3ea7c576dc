//! CRC-32C (Castagnoli; polynomial 0x1EDC6F41, reflected), as LevelDB tables and checkpoints use it.

/// The polynomial with its bits reversed.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// What LevelDB adds to a rotated checksum, so that checksums of data that holds checksums differ.
const MASK: u32 = 0xA282_EAD8;

/// `TABLES[k][b]` is the checksum of the byte `b` followed by `k` zero bytes.
const TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            let subtract = if remainder & 1 == 1 { POLYNOMIAL } else { 0 };
            remainder = (remainder >> 1) ^ subtract;
            bit += 1;
        }
        tables[0][byte] = remainder;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[zeros - 1][byte];
            tables[zeros][byte] = (before >> 8) ^ tables[0][(before & 0xFF) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

/// The checksum of several pieces of data, one behind the other.
pub(super) fn checksum(pieces: &[&[u8]]) -> u32 {
    !pieces.iter().fold(!0, |remainder, piece| continued(remainder, piece))
}

/// [`checksum`] as files store it.
pub(super) fn masked(pieces: &[&[u8]]) -> u32 {
    checksum(pieces).rotate_right(15).wrapping_add(MASK)
}

fn continued(mut remainder: u32, data: &[u8]) -> u32 {
    // Eight bytes at once: the remainder's four bytes meet the first four.
    let (groups, rest) = data.as_chunks::<8>();
    for [a, b, c, d, e, f, g, h] in groups {
        let first = remainder ^ u32::from_le_bytes([*a, *b, *c, *d]);
        let [a, b, c, d] = first.to_le_bytes().map(usize::from);
        let [e, f, g, h] = [*e, *f, *g, *h].map(usize::from);
        remainder = TABLES[7][a] ^ TABLES[6][b] ^ TABLES[5][c] ^ TABLES[4][d];
        remainder ^= TABLES[3][e] ^ TABLES[2][f] ^ TABLES[1][g] ^ TABLES[0][h];
    }
    for byte in rest {
        let index = (remainder as u8) ^ byte;
        remainder = (remainder >> 8) ^ TABLES[0][usize::from(index)];
    }
    remainder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_checksums_come_out() {
        // RFC 3720, appendix B.4.
        assert_eq!(checksum(&[b"123456789"]), 0xE306_9283);
        assert_eq!(checksum(&[&[0; 32]]), 0x8A91_36AA);
        assert_eq!(checksum(&[&[0xFF; 32]]), 0x62A8_AB43);
        assert_eq!(checksum(&[&(0..32).collect::<Vec<u8>>()]), 0x46DD_794E);
    }

    #[test]
    fn pieces_are_one_run_of_bytes() {
        let data: Vec<u8> = (0..100).collect();
        for cut in [0, 1, 7, 8, 50, 100] {
            assert_eq!(checksum(&[&data[..cut], &data[cut..]]), checksum(&[&data]));
        }
    }
}
