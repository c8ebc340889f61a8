//! The tables that the clinic is made of.

use dcms_domain::access::Role;
use dcms_domain::patients::Gender::{self, Female, Male, Unknown};
use rand::Rng as _;
use rand::rngs::StdRng;

/// Display name and role of everybody but the admin, in the order of the usernames.
pub(crate) const STAFF: [(&str, Role); 5] = [
    ("Miriam Falk", Role::Manager),
    ("Dr. Anna Weiss", Role::Doctor),
    ("Dr. José Ortega", Role::Doctor),
    ("Dr. Şule Demir", Role::Doctor),
    ("Paul Becker", Role::Receptionist),
];

/// Code, name, price in cents, minutes.
pub(crate) const CATALOG: [(&str, &str, i64, i64); 18] = [
    ("EXAM", "Comprehensive examination", 4_500, 30),
    ("CHECK", "Routine check-up", 3_000, 20),
    ("XRAY-BW", "Bitewing X-rays", 3_500, 10),
    ("XRAY-PAN", "Panoramic X-ray", 7_500, 15),
    ("PROPH", "Professional cleaning", 9_500, 45),
    ("SCALE", "Scaling, per quadrant", 6_000, 30),
    ("FLUOR", "Fluoride treatment", 2_500, 15),
    ("SEAL", "Fissure sealant, per tooth", 3_200, 15),
    ("FILL-1", "Composite filling, one surface", 8_500, 30),
    ("FILL-2", "Composite filling, two surfaces", 12_000, 40),
    ("FILL-3", "Composite filling, three surfaces", 15_500, 50),
    ("ENDO-1", "Root canal, one canal", 32_000, 60),
    ("ENDO-3", "Root canal, three canals", 58_000, 90),
    ("CROWN", "Ceramic crown", 72_000, 60),
    ("BRIDGE", "Bridge, per unit", 68_000, 60),
    ("EXTR", "Extraction, simple", 9_000, 30),
    ("WHITE", "Whitening", 35_000, 60),
    ("SPLINT", "Night guard", 28_000, 30),
];

/// The same of what needs the surgery, and not every doctor performs.
pub(crate) const SURGERY: [(&str, &str, i64, i64); 2] = [
    ("EXTR-S", "Extraction, surgical", 21_000, 60),
    ("IMPL", "Implant placement", 145_000, 90),
];

/// The rooms, and what they are equipped for.
pub(crate) const ROOMS: [(&str, Option<&str>); 3] = [
    ("Room 1", None),
    ("Room 2", None),
    ("Room 3", Some("surgery")),
];

pub(crate) const FIRST_NAMES: [(&str, Gender); 40] = [
    ("Emma", Female),
    ("Liam", Male),
    ("Sofía", Female),
    ("Noah", Male),
    ("Zoë", Female),
    ("Jürgen", Male),
    ("Amélie", Female),
    ("Mateusz", Male),
    ("Ayşe", Female),
    ("Björn", Male),
    ("Chiara", Female),
    ("Dmitri", Male),
    ("Elif", Female),
    ("François", Male),
    ("Greta", Female),
    ("Hassan", Male),
    ("Ines", Female),
    ("João", Male),
    ("Katarzyna", Female),
    ("Luka", Male),
    ("Mina", Female),
    ("Nguyen", Unknown),
    ("Olivia", Female),
    ("Pedro", Male),
    ("Renée", Female),
    ("Søren", Male),
    ("Tomáš", Male),
    ("Ursula", Female),
    ("Viktor", Male),
    ("Wanda", Female),
    ("Yusuf", Male),
    ("Zuzana", Female),
    ("Karl-Heinz", Male),
    ("Maria", Female),
    ("Peter", Male),
    ("Sabine", Female),
    ("Thomas", Male),
    ("Charlotte", Female),
    ("Kim", Unknown),
    ("Leonie", Female),
];

pub(crate) const LAST_NAMES: [&str; 50] = [
    "Müller",
    "Schmidt",
    "Schneider",
    "Fischer",
    "Weber",
    "Meyer",
    "Wagner",
    "Schäfer",
    "Hoffmann",
    "Koch",
    "Richter",
    "Klein",
    "Wolf",
    "Schröder",
    "Neumann",
    "Schwarz",
    "Zimmermann",
    "Braun",
    "Krüger",
    "Hofmann",
    "Hartmann",
    "Lange",
    "Krause",
    "Lehmann",
    "Köhler",
    "Maier",
    "Yılmaz",
    "Kaya",
    "Nowak",
    "Kowalski",
    "García",
    "Fernández",
    "Rossi",
    "Ferrari",
    "Dubois",
    "Lefèvre",
    "Johnson",
    "Smith",
    "O'Brien",
    "Andersson",
    "Nielsen",
    "Novák",
    "Horváth",
    "Popescu",
    "Petrov",
    "Nguyễn",
    "Al-Masri",
    "van den Berg",
    "Weiß",
    "Strauß",
];

pub(crate) const NOTES: [&str; 6] = [
    "Allergic to penicillin.",
    "Prefers mornings.",
    "Anxious; explain each step.",
    "Takes blood thinners; ask before extractions.",
    "Needs a step-free entrance.",
    "Interpreter needed: Polish.",
];

/// One row of a table.
pub(crate) fn pick<Row: Copy>(table: &[Row], random: &mut StdRng) -> Row {
    table[random.random_range(0..table.len())]
}
