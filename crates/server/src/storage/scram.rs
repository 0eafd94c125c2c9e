//! `--add-scram`: credentials that exist from the first start on.
//!
//! The key derivation is RFC 5802's: PBKDF2 with HMAC, and two keys from it, of which the server keeps one hashed.

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use ottla_protocol::Str;
use ottla_protocol::records::metadata::UserScramCredentialRecord;
use sha2::{Digest, Sha256, Sha512};

use super::FormatError;

/// What Kafka accepts as `iterations`, and its default.
const ITERATIONS_MIN: i32 = 4096;
const ITERATIONS_MAX: i32 = 16_384;

/// Reads `SCRAM-SHA-256=[name=alice,password=secret]`; `salt` (base64) and `iterations` may be given too. `new_salt`
/// draws a salt otherwise.
pub fn parse(
    text: &str,
    new_salt: impl FnOnce() -> Vec<u8>,
) -> Result<UserScramCredentialRecord, FormatError> {
    let wrong = |why: &str| FormatError::Usage(format!("--add-scram {text}: {why}"));
    let (mechanism, rest) =
        text.split_once('=').ok_or_else(|| wrong("expected MECHANISM=[name=…,password=…]"))?;
    let number = match mechanism {
        "SCRAM-SHA-256" => 1,
        "SCRAM-SHA-512" => 2,
        _ => return Err(wrong("the mechanism must be SCRAM-SHA-256 or SCRAM-SHA-512")),
    };
    let inner = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let inner = inner.ok_or_else(|| wrong("the arguments must stand in [ ]"))?;
    let (mut name, mut password, mut salt, mut iterations) = (None, None, None, ITERATIONS_MIN);
    for argument in inner.split(',') {
        let (key, value) = argument.split_once('=').ok_or_else(|| wrong("expected key=value"))?;
        let value = value.trim_matches('"');
        match key.trim() {
            "name" => name = Some(value),
            "password" => password = Some(value),
            "salt" => salt = Some(base64(value).ok_or_else(|| wrong("the salt is not base64"))?),
            "iterations" => {
                let valid = |count: &i32| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(count);
                let parsed = value.parse().ok().filter(valid);
                iterations = parsed.ok_or_else(|| wrong("iterations must be between 4096 and 16384"))?;
            }
            other => return Err(wrong(&format!("{other} is not an argument of --add-scram"))),
        }
    }
    let name = name.filter(|name| !name.is_empty()).ok_or_else(|| wrong("name is missing"))?;
    let password = password.ok_or_else(|| wrong("password is missing"))?;
    let salt = salt.unwrap_or_else(new_salt);
    let rounds = iterations as usize;
    let (stored_key, server_key) = match number {
        1 => {
            keys(password.as_bytes(), &salt, rounds, sign::<Hmac<Sha256>>, |key| Sha256::digest(key).to_vec())
        }
        _ => {
            keys(password.as_bytes(), &salt, rounds, sign::<Hmac<Sha512>>, |key| Sha512::digest(key).to_vec())
        }
    };
    Ok(UserScramCredentialRecord {
        name: Str::from(name),
        mechanism: number,
        salt: Bytes::from(salt),
        stored_key: Bytes::from(stored_key),
        server_key: Bytes::from(server_key),
        iterations,
    })
}

fn sign<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// Stored key and server key.
fn keys(
    password: &[u8],
    salt: &[u8],
    iterations: usize,
    sign: fn(&[u8], &[u8]) -> Vec<u8>,
    hash: fn(&[u8]) -> Vec<u8>,
) -> (Vec<u8>, Vec<u8>) {
    let mut block = sign(password, &[salt, &1u32.to_be_bytes()].concat());
    let mut salted = block.clone();
    for _ in 1..iterations {
        block = sign(password, &block);
        salted.iter_mut().zip(&block).for_each(|(sum, byte)| *sum ^= byte);
    }
    (hash(&sign(&salted, b"Client Key")), sign(&salted, b"Server Key"))
}

fn base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for symbol in text.trim_end_matches('=').bytes() {
        let six = ALPHABET.iter().position(|known| *known == symbol)? as u32;
        bits = bits << 6 | six;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client and server of RFC 7677, section 3: what the server keeps must verify what that client sent.
    #[test]
    fn keys_are_those_of_the_rfc() {
        let text = "SCRAM-SHA-256=[name=user,password=pencil,salt=W22ZaJ0SNY7soEsUEjb6gQ==,iterations=4096]";
        let record = parse(text, || unreachable!()).unwrap();
        assert_eq!((record.mechanism, record.iterations, &*record.name), (1, 4096, "user"));
        let message = b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let signature = sign::<Hmac<Sha256>>(&record.server_key, message);
        assert_eq!(Some(signature), base64("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        let client = sign::<Hmac<Sha256>>(&record.stored_key, message);
        let proof = base64("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        let client_key: Vec<u8> = proof.iter().zip(&client).map(|(a, b)| a ^ b).collect();
        assert_eq!(Sha256::digest(&client_key)[..], record.stored_key[..]);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, why) in [
            ("alice", "expected MECHANISM"),
            ("SCRAM-MD5=[name=a,password=b]", "mechanism"),
            ("SCRAM-SHA-256=name=a", "[ ]"),
            ("SCRAM-SHA-256=[password=b]", "name is missing"),
            ("SCRAM-SHA-256=[name=a]", "password is missing"),
            ("SCRAM-SHA-512=[name=a,password=b,iterations=10]", "iterations"),
            ("SCRAM-SHA-512=[name=a,password=b,x=10]", "x is not"),
        ] {
            let error = parse(text, Vec::new).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
