-- Invoices: stored facts, derived status.

CREATE TABLE invoices (
    invoice_id     uuid        CONSTRAINT invoices_pkey PRIMARY KEY,
    invoice_number text
        CONSTRAINT invoices_invoice_number_key UNIQUE
        CONSTRAINT invoices_invoice_number_form CHECK (length(invoice_number) BETWEEN 1 AND 64),
    patient_id     uuid        NOT NULL
        CONSTRAINT invoices_patient_id_fkey REFERENCES patients,
    appointment_id uuid,
    currency       text        NOT NULL
        CONSTRAINT invoices_currency_form CHECK (currency ~ '^[A-Z]{3}$'),
    total_cents    bigint      NOT NULL
        CONSTRAINT invoices_total_not_negative CHECK (total_cents >= 0),
    paid_cents     bigint      NOT NULL,
    issued_at      timestamptz
        CONSTRAINT invoices_issued_at_sane CHECK (is_sane(issued_at)),
    voided_at      timestamptz
        CONSTRAINT invoices_voided_at_sane CHECK (is_sane(voided_at)),
    void_reason    text
        CONSTRAINT invoices_void_reason_form CHECK (length(void_reason) BETWEEN 1 AND 500),
    version        bigint      NOT NULL CONSTRAINT invoices_version_positive CHECK (version > 0),
    created_at     timestamptz NOT NULL
        CONSTRAINT invoices_created_at_sane CHECK (is_sane(created_at)),
    updated_at     timestamptz NOT NULL
        CONSTRAINT invoices_updated_at_sane CHECK (is_sane(updated_at)),
    status         text        NOT NULL GENERATED ALWAYS AS (
        CASE
            WHEN voided_at IS NOT NULL THEN 'void'
            WHEN issued_at IS NULL THEN 'draft'
            WHEN paid_cents = total_cents THEN 'paid'
            WHEN paid_cents = 0 THEN 'issued'
            ELSE 'partially_paid'
        END
    ) STORED,

    -- Both columns: an invoice never charges one patient for another's visit.
    CONSTRAINT invoices_appointment_id_fkey FOREIGN KEY (appointment_id, patient_id)
        REFERENCES appointments (appointment_id, patient_id),
    CONSTRAINT invoices_paid_within_total CHECK (paid_cents BETWEEN 0 AND total_cents),
    CONSTRAINT invoices_paid_only_when_owed CHECK (
        paid_cents = 0 OR (issued_at IS NOT NULL AND voided_at IS NULL)
    ),
    CONSTRAINT invoices_numbered_when_issued CHECK (
        (invoice_number IS NULL) = (issued_at IS NULL)
    ),
    CONSTRAINT invoices_voided_with_reason CHECK ((voided_at IS NULL) = (void_reason IS NULL))
);

CREATE TABLE invoice_items (
    invoice_item_id           uuid    CONSTRAINT invoice_items_pkey PRIMARY KEY,
    invoice_id                uuid    NOT NULL
        CONSTRAINT invoice_items_invoice_id_fkey REFERENCES invoices ON DELETE CASCADE,
    position                  integer NOT NULL
        CONSTRAINT invoice_items_position_range CHECK (position BETWEEN 0 AND 199),
    service_id                uuid
        CONSTRAINT invoice_items_service_id_fkey REFERENCES services,
    description_snapshot      text    NOT NULL
        CONSTRAINT invoice_items_description_form
        CHECK (length(description_snapshot) BETWEEN 1 AND 200),
    unit_price_snapshot_cents bigint  NOT NULL
        CONSTRAINT invoice_items_unit_price_range
        CHECK (unit_price_snapshot_cents BETWEEN 0 AND 1000000000000),
    qty                       integer NOT NULL
        CONSTRAINT invoice_items_qty_range CHECK (qty BETWEEN 1 AND 10000),
    line_total_cents          bigint  NOT NULL
        GENERATED ALWAYS AS (unit_price_snapshot_cents * qty) STORED,
    -- Deferred, so that lines can change places within one statement.
    CONSTRAINT invoice_items_position_key UNIQUE (invoice_id, position) DEFERRABLE INITIALLY DEFERRED
);

-- The number that was given last. One row, held by whoever issues: no gap, no number twice.
CREATE TABLE invoice_numbering (
    singleton     boolean CONSTRAINT invoice_numbering_pkey PRIMARY KEY DEFAULT true
        CONSTRAINT invoice_numbering_singleton CHECK (singleton),
    last_sequence bigint  NOT NULL
        CONSTRAINT invoice_numbering_not_negative CHECK (last_sequence >= 0)
);

INSERT INTO invoice_numbering (last_sequence) VALUES (0);
