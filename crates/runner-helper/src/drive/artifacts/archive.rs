//! Files as a stream of bytes: zip, gzip or the file itself. Nothing of the size of a file is kept in memory.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use zip::write::{FileOptions, FullFileOptions};
use zip::{CompressionMethod, DateTime, ZipWriter};

/// From this size on an entry's sizes need 64 bits; below 4 GiB because the file may still grow.
const LARGE: u64 = 0xf000_0000;

/// Form of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// One archive.
    Zip,
    /// Each file compressed, one behind the other.
    Gzip,
    /// The one file.
    Raw,
}

impl Format {
    /// Reads `artifact_format`; empty is zip.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "zip" => Some(Self::Zip),
            "gzip" => Some(Self::Gzip),
            "raw" => Some(Self::Raw),
            _ => None,
        }
    }

    /// The name on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Zip => "zip",
            Self::Gzip => "gzip",
            Self::Raw => "raw",
        }
    }

    /// Name of the file that is sent: the last part of `name` with the format's extension.
    pub(crate) fn file_name(self, name: &str) -> String {
        let base = Path::new(name).file_name().map(|base| base.to_string_lossy().into_owned());
        let base = base.unwrap_or_else(|| "default".to_owned());
        match self {
            Self::Zip => format!("{base}.zip"),
            Self::Gzip => format!("{base}.gz"),
            Self::Raw => base,
        }
    }
}

/// How hard to compress: `ARTIFACT_COMPRESSION_LEVEL`, `CACHE_COMPRESSION_LEVEL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level(u8);

impl Level {
    /// Reads the variable; `None` if it is none of the known words.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(Self(match text {
            "fastest" => 0,
            "fast" => 1,
            "" | "default" => 5,
            "slow" => 7,
            "slowest" => 9,
            _ => return None,
        }))
    }
}

impl Default for Level {
    fn default() -> Self {
        Self(5)
    }
}

/// Writes the files `paths` below `root`.
pub(crate) fn write(
    root: &Path,
    paths: &BTreeSet<PathBuf>,
    format: Format,
    level: Level,
    out: impl Write,
) -> io::Result<()> {
    match format {
        Format::Zip => write_zip(root, paths, level, out),
        Format::Gzip => write_gzip(root, paths, level, out),
        Format::Raw => write_raw(root, paths, out),
    }
}

fn write_zip(root: &Path, paths: &BTreeSet<PathBuf>, level: Level, out: impl Write) -> io::Result<()> {
    let mut zip = ZipWriter::new_stream(out);
    for path in paths {
        let Some((whole, metadata)) = present(root, path)? else { continue };
        let name = path.to_string_lossy();
        let kind = metadata.file_type();
        let options = options(&metadata, level)?;
        if kind.is_dir() {
            zip.add_directory(format!("{name}/"), options)?;
        } else if kind.is_symlink() {
            zip.add_symlink(name, std::fs::read_link(&whole)?.to_string_lossy(), options)?;
        } else if kind.is_file() {
            let mut file = open(&whole)?;
            zip.start_file(name, options)?;
            io::copy(&mut file, &mut zip).map_err(|err| named(&whole, &err))?;
        }
        // Devices, pipes and sockets are left out.
    }
    zip.finish()?;
    Ok(())
}

fn options(metadata: &Metadata, level: Level) -> io::Result<FullFileOptions<'static, 'static>> {
    let (method, level) = match level.0 {
        0 => (CompressionMethod::Stored, None),
        level => (CompressionMethod::Deflated, Some(i64::from(level))),
    };
    let options: FullFileOptions<'_, '_> = FileOptions::default();
    let mut options = options
        .compression_method(method)
        .compression_level(level)
        .unix_permissions(metadata.mode() & 0o7777)
        .last_modified_time(dos_time(metadata.mtime()))
        .large_file(metadata.len() >= LARGE);
    let mtime = i32::try_from(metadata.mtime()).unwrap_or(i32::MAX);
    options.add_extra_field(0x5455, [&[1][..], &mtime.to_le_bytes()].concat(), false)?;
    let ids = [&[1, 4][..], &metadata.uid().to_le_bytes(), &[4], &metadata.gid().to_le_bytes()].concat();
    options.add_extra_field(0x7875, ids, false)?;
    Ok(options)
}

/// What the time of an entry is without the extra field: UTC, two seconds' precision, 1980 to 2107.
fn dos_time(seconds: i64) -> DateTime {
    let days = seconds.div_euclid(86_400);
    let second = seconds.rem_euclid(86_400);
    // Days since 1 March of year 0, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = (year_of_era + era * 400, if month < 10 { month + 3 } else { month - 9 });
    let year = if month <= 2 { year + 1 } else { year };
    let small = |n: i64| u8::try_from(n).unwrap_or(0);
    let year = u16::try_from(year).unwrap_or(0);
    let (hour, minute, second) = (small(second / 3600), small(second / 60 % 60), small(second % 60));
    DateTime::from_date_and_time(year, small(month), small(day), hour, minute, second).unwrap_or_default()
}

fn write_gzip(root: &Path, paths: &BTreeSet<PathBuf>, level: Level, mut out: impl Write) -> io::Result<()> {
    for path in paths {
        let Some((whole, metadata)) = present(root, path)? else { continue };
        if !metadata.is_file() {
            continue;
        }
        let mut file = open(&whole)?;
        let base = path.file_name().unwrap_or_default().to_string_lossy();
        let mut member = GzBuilder::new()
            .filename(header_text(&base))
            .comment(header_text(&path.to_string_lossy()))
            .mtime(u32::try_from(metadata.mtime()).unwrap_or(0))
            .write(&mut out, Compression::new(u32::from(level.0)));
        io::copy(&mut file, &mut member).map_err(|err| named(&whole, &err))?;
        member.finish()?;
    }
    Ok(())
}

/// A name as a gzip header can hold it: Latin-1 there, so anything but plain ASCII is escaped.
fn header_text(text: &str) -> String {
    if text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        return text.to_owned();
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'/');
    let escape = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    format!("e:{}", text.bytes().map(escape).collect::<String>())
}

fn write_raw(root: &Path, paths: &BTreeSet<PathBuf>, mut out: impl Write) -> io::Result<()> {
    if paths.len() > 1 {
        return Err(io::Error::other("only one file can be sent as raw"));
    }
    for path in paths {
        let whole = root.join(path);
        io::copy(&mut open(&whole)?, &mut out).map_err(|err| named(&whole, &err))?;
    }
    Ok(())
}

/// Metadata of what is still there.
fn present(root: &Path, path: &Path) -> io::Result<Option<(PathBuf, Metadata)>> {
    let whole = root.join(path);
    match whole.symlink_metadata() {
        Ok(metadata) => Ok(Some((whole, metadata))),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(named(&whole, &err)),
    }
}

fn open(path: &Path) -> io::Result<impl Read + use<>> {
    let file = File::open(path).map_err(|err| named(path, &err))?;
    Ok(BufReader::with_capacity(128 * 1024, file))
}

fn named(path: &Path, err: &io::Error) -> io::Error {
    io::Error::new(err.kind(), format!("`{}`: {err}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_the_last_part_and_the_extension() {
        for (format, name, expected) in [
            (Format::Zip, "artifacts", "artifacts.zip"),
            (Format::Zip, "feature/x", "x.zip"),
            (Format::Gzip, ".env", ".env.gz"),
            (Format::Raw, "report.json", "report.json"),
            (Format::Zip, "", "default.zip"),
            (Format::Zip, ".", "default.zip"),
        ] {
            assert_eq!(format.file_name(name), expected);
        }
    }

    #[test]
    fn entry_times_are_utc() {
        let time = dos_time(1_767_323_045); // 2026-01-02T03:04:05Z
        let parts = (time.year(), time.month(), time.day(), time.hour(), time.minute());
        assert_eq!(parts, (2026, 1, 2, 3, 4));
        assert_eq!(dos_time(951_782_400).day(), 29); // 2000-02-29
        assert_eq!(dos_time(0), DateTime::default()); // before 1980
    }

    #[test]
    fn names_in_gzip_headers_are_ascii() {
        assert_eq!(header_text("a b.env"), "a b.env");
        assert_eq!(header_text("ü"), "e:%C3%BC");
    }
}
