-- Money that came in and went back, and the triggers that keep an invoice's books closed.

CREATE TABLE payments (
    payment_id     uuid        CONSTRAINT payments_pkey PRIMARY KEY,
    invoice_id     uuid        NOT NULL
        CONSTRAINT payments_invoice_id_fkey REFERENCES invoices,
    amount_cents   bigint      NOT NULL
        CONSTRAINT payments_amount_range CHECK (amount_cents BETWEEN 1 AND 1000000000000),
    refunded_cents bigint      NOT NULL,
    method         text        NOT NULL
        CONSTRAINT payments_method_known
        CHECK (method IN ('cash', 'card', 'bank_transfer', 'insurance', 'other')),
    paid_at        timestamptz NOT NULL
        CONSTRAINT payments_paid_at_sane CHECK (is_sane(paid_at)),
    reference      text
        CONSTRAINT payments_reference_form CHECK (length(reference) BETWEEN 1 AND 200),
    recorded_by    uuid        NOT NULL
        CONSTRAINT payments_recorded_by_fkey REFERENCES users,
    version        bigint      NOT NULL CONSTRAINT payments_version_positive CHECK (version > 0),
    created_at     timestamptz NOT NULL
        CONSTRAINT payments_created_at_sane CHECK (is_sane(created_at)),
    CONSTRAINT payments_refunded_within_amount CHECK (refunded_cents BETWEEN 0 AND amount_cents)
);

CREATE TABLE refunds (
    refund_id    uuid        CONSTRAINT refunds_pkey PRIMARY KEY,
    payment_id   uuid        NOT NULL
        CONSTRAINT refunds_payment_id_fkey REFERENCES payments,
    amount_cents bigint      NOT NULL
        CONSTRAINT refunds_amount_range CHECK (amount_cents BETWEEN 1 AND 1000000000000),
    reason       text        NOT NULL
        CONSTRAINT refunds_reason_form CHECK (length(reason) BETWEEN 1 AND 500),
    recorded_by  uuid        NOT NULL
        CONSTRAINT refunds_recorded_by_fkey REFERENCES users,
    created_at   timestamptz NOT NULL
        CONSTRAINT refunds_created_at_sane CHECK (is_sane(created_at))
);

-- The triggers below are constraint triggers, so that each has a name among the constraints and
-- an answer of its own.

CREATE FUNCTION refuse_frozen_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'refused by %', TG_NAME
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME;
END
$$;

-- Once issued, an invoice keeps what it says; only what was paid and that it was voided may come.
CREATE CONSTRAINT TRIGGER invoices_frozen_once_issued
    AFTER UPDATE ON invoices FOR EACH ROW
    WHEN (OLD.issued_at IS NOT NULL AND (
        NEW.invoice_number, NEW.patient_id, NEW.appointment_id, NEW.currency, NEW.total_cents,
        NEW.issued_at, NEW.created_at
    ) IS DISTINCT FROM (
        OLD.invoice_number, OLD.patient_id, OLD.appointment_id, OLD.currency, OLD.total_cents,
        OLD.issued_at, OLD.created_at
    ))
    EXECUTE FUNCTION refuse_frozen_change();

CREATE CONSTRAINT TRIGGER invoices_frozen_once_void
    AFTER UPDATE ON invoices FOR EACH ROW
    WHEN (OLD.voided_at IS NOT NULL)
    EXECUTE FUNCTION refuse_frozen_change();

CREATE CONSTRAINT TRIGGER invoices_kept_once_issued
    AFTER DELETE ON invoices FOR EACH ROW
    WHEN (OLD.issued_at IS NOT NULL OR OLD.voided_at IS NOT NULL)
    EXECUTE FUNCTION refuse_frozen_change();

-- Payments and refunds are never changed or deleted; a payment only counts what went back.
CREATE CONSTRAINT TRIGGER payments_never_changed
    AFTER UPDATE ON payments FOR EACH ROW
    WHEN ((
        NEW.payment_id, NEW.invoice_id, NEW.amount_cents, NEW.method, NEW.paid_at, NEW.reference,
        NEW.recorded_by, NEW.created_at
    ) IS DISTINCT FROM (
        OLD.payment_id, OLD.invoice_id, OLD.amount_cents, OLD.method, OLD.paid_at, OLD.reference,
        OLD.recorded_by, OLD.created_at
    ))
    EXECUTE FUNCTION refuse_frozen_change();

CREATE CONSTRAINT TRIGGER payments_never_deleted
    AFTER DELETE ON payments FOR EACH ROW EXECUTE FUNCTION refuse_frozen_change();

CREATE CONSTRAINT TRIGGER refunds_never_changed
    AFTER UPDATE OR DELETE ON refunds FOR EACH ROW EXECUTE FUNCTION refuse_frozen_change();

-- Lines change only while their invoice is a draft. A line that goes because its draft is deleted
-- finds no invoice any more.
CREATE FUNCTION refuse_line_of_issued_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM public.invoices
        WHERE invoice_id IN (NEW.invoice_id, OLD.invoice_id)
            AND (issued_at IS NOT NULL OR voided_at IS NOT NULL)
    ) THEN
        RAISE EXCEPTION 'refused by %', TG_NAME
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER invoice_items_frozen_once_issued
    AFTER INSERT OR UPDATE OR DELETE ON invoice_items FOR EACH ROW
    EXECUTE FUNCTION refuse_line_of_issued_invoice();

-- At commit the stored sums are the sums of what is stored.
CREATE FUNCTION refuse_wrong_sums() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    affected uuid := coalesce(NEW.invoice_id, OLD.invoice_id);
BEGIN
    IF EXISTS (
        SELECT FROM public.invoices
        WHERE invoice_id = affected AND (
            total_cents <> (
                SELECT coalesce(sum(line_total_cents), 0)
                FROM public.invoice_items WHERE invoice_id = affected
            ) OR paid_cents <> (
                SELECT coalesce(sum(amount_cents - refunded_cents), 0)
                FROM public.payments WHERE invoice_id = affected
            )
        )
    ) THEN
        RAISE EXCEPTION 'refused by %', TG_NAME
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER invoices_sums_agree
    AFTER INSERT OR UPDATE OF total_cents, paid_cents ON invoices
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_wrong_sums();

CREATE CONSTRAINT TRIGGER invoice_items_sum_agrees
    AFTER INSERT OR UPDATE OR DELETE ON invoice_items
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_wrong_sums();

CREATE CONSTRAINT TRIGGER payments_sum_agrees
    AFTER INSERT OR UPDATE ON payments
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_wrong_sums();

CREATE FUNCTION refuse_wrong_refund_sum() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM public.payments
        WHERE payment_id = NEW.payment_id AND refunded_cents <> (
            SELECT coalesce(sum(amount_cents), 0)
            FROM public.refunds WHERE payment_id = NEW.payment_id
        )
    ) THEN
        RAISE EXCEPTION 'refused by %', TG_NAME
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER payments_refunds_agree
    AFTER INSERT OR UPDATE OF refunded_cents ON payments
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_wrong_refund_sum();

CREATE CONSTRAINT TRIGGER refunds_sum_agrees
    AFTER INSERT ON refunds
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_wrong_refund_sum();
