-- What keeps reads fast, and the uniqueness that only an index can say.

CREATE UNIQUE INDEX users_username_key ON users (lower(username));
CREATE UNIQUE INDEX rooms_name_key ON rooms (lower(name));
CREATE UNIQUE INDEX services_code_key ON services (lower(code));
CREATE UNIQUE INDEX patient_contacts_primary_key
    ON patient_contacts (patient_id, type) WHERE is_primary;

CREATE INDEX sessions_live_by_user ON sessions (user_id, session_id) WHERE revoked_at IS NULL;

-- Search: whole words, their beginnings (however short) and slips; then parts by trigrams.
CREATE INDEX patients_search_terms ON patients USING gin (search_terms);
-- Whether it is faster to look a word up or to go through the register depends on how frequent it
-- is, so PostgreSQL has to know the frequencies of many words.
ALTER TABLE patients ALTER COLUMN search_terms SET STATISTICS 1000;
CREATE INDEX patients_search_name ON patients USING gin (search_name gin_trgm_ops);
CREATE INDEX patient_contacts_search_value
    ON patient_contacts USING gin (search_value gin_trgm_ops);
CREATE INDEX patient_contacts_by_value ON patient_contacts (search_value text_pattern_ops);
-- The archive is small beside the register.
CREATE INDEX patients_archived ON patients (patient_id) WHERE archived_at IS NOT NULL;
CREATE INDEX patient_contacts_by_patient ON patient_contacts (patient_id, contact_id);

CREATE INDEX appointments_by_doctor ON appointments (doctor_id, starts_at);
CREATE INDEX appointments_by_patient ON appointments (patient_id, starts_at);
CREATE INDEX appointments_by_room ON appointments (room_id, starts_at);
CREATE INDEX appointments_by_start ON appointments (starts_at, appointment_id);

CREATE INDEX appointment_services_by_service ON appointment_services (service_id);
CREATE INDEX invoice_items_by_service ON invoice_items (service_id);
CREATE INDEX invoices_by_patient ON invoices (patient_id, invoice_id);
CREATE INDEX invoices_by_appointment ON invoices (appointment_id);
CREATE INDEX invoices_by_status ON invoices (status, invoice_id);
CREATE INDEX invoices_by_day ON invoices (coalesce(issued_at, created_at));
CREATE INDEX payments_by_invoice ON payments (invoice_id, payment_id);
CREATE INDEX payments_by_day ON payments (paid_at);
CREATE INDEX refunds_by_payment ON refunds (payment_id);
