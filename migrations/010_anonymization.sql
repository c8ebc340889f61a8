-- Patients who are nobody any more: what identified them is gone, money and times stay.

ALTER TABLE patients
    ADD COLUMN anonymized_at timestamptz
        CONSTRAINT patients_anonymized_at_sane CHECK (is_sane(anonymized_at)),
    -- For good: nothing that identifies somebody comes back.
    ADD CONSTRAINT patients_anonymized_is_empty CHECK (
        anonymized_at IS NULL OR (
            first_name = 'Anonymized' AND last_name = 'Patient' AND birthday IS NULL
            AND gender = 'unknown' AND notes IS NULL AND archived_at IS NOT NULL
        )
    );

CREATE CONSTRAINT TRIGGER patients_anonymized_for_good
    AFTER UPDATE ON patients FOR EACH ROW
    WHEN (OLD.anonymized_at IS NOT NULL AND NEW.anonymized_at IS DISTINCT FROM OLD.anonymized_at)
    EXECUTE FUNCTION refuse_frozen_change();

-- Takes what was changed out of the audit log's rows about an anonymized patient, and leaves that
-- it was. The application may change the log in no other way.
CREATE FUNCTION public.redact_audit_of(patient uuid) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
    BEGIN ATOMIC
        UPDATE public.audit_log SET changes = NULL, changes_salt = NULL
        WHERE patient_ids @> ARRAY[patient] AND changes IS NOT NULL AND EXISTS (
            SELECT FROM public.patients WHERE patient_id = patient AND anonymized_at IS NOT NULL
        );
    END;

-- What is kept about an anonymized patient stays as it is: no contact, visit or invoice comes or
-- changes, and with the invoices no payment and no refund, for those change an invoice's sums. Of
-- whoever writes at the same moment, the second sees what the first did: whoever adds something
-- holds the patient's row by its foreign key, which whoever anonymizes has locked.
CREATE FUNCTION refuse_record_of_anonymized() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM public.patients
        WHERE patient_id = NEW.patient_id AND anonymized_at IS NOT NULL
    ) THEN
        RAISE EXCEPTION 'refused by %', TG_NAME
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER patient_contacts_of_known_patient
    AFTER INSERT OR UPDATE ON patient_contacts FOR EACH ROW
    EXECUTE FUNCTION refuse_record_of_anonymized();

CREATE CONSTRAINT TRIGGER appointments_of_known_patient
    AFTER INSERT OR UPDATE ON appointments FOR EACH ROW
    EXECUTE FUNCTION refuse_record_of_anonymized();

-- But for the text in void_reason, which is redacted: see below.
CREATE CONSTRAINT TRIGGER invoices_of_known_patient
    AFTER INSERT OR UPDATE OF
        invoice_id, invoice_number, patient_id, appointment_id, currency, total_cents, paid_cents,
        issued_at, voided_at, created_at, updated_at
    ON invoices FOR EACH ROW
    EXECUTE FUNCTION refuse_record_of_anonymized();

-- The books stay closed, but for what people wrote into them about somebody who is anonymized:
-- that becomes 'redacted', the column is the trigger's argument.
CREATE FUNCTION refuse_all_but_redaction() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before jsonb := to_jsonb(OLD);
    after jsonb := to_jsonb(NEW);
    may_change text[] := ARRAY[TG_ARGV[0], 'version'];
BEGIN
    IF TG_OP = 'UPDATE'
        AND after ->> TG_ARGV[0] = 'redacted' AND after - may_change = before - may_change
        AND EXISTS (
            SELECT FROM public.patients JOIN public.invoices USING (patient_id)
            WHERE anonymized_at IS NOT NULL AND invoice_id = coalesce(
                (after ->> 'invoice_id')::uuid,
                (
                    SELECT payments.invoice_id FROM public.payments
                    WHERE payment_id = (after ->> 'payment_id')::uuid
                )
            )
        )
    THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'refused by %', TG_NAME
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME;
END
$$;

DROP TRIGGER invoices_frozen_once_void ON invoices;
CREATE CONSTRAINT TRIGGER invoices_frozen_once_void
    AFTER UPDATE ON invoices FOR EACH ROW
    WHEN (OLD.voided_at IS NOT NULL)
    EXECUTE FUNCTION refuse_all_but_redaction('void_reason');

DROP TRIGGER payments_never_changed ON payments;
CREATE CONSTRAINT TRIGGER payments_never_changed
    AFTER UPDATE ON payments FOR EACH ROW
    WHEN ((
        NEW.payment_id, NEW.invoice_id, NEW.amount_cents, NEW.method, NEW.paid_at, NEW.reference,
        NEW.recorded_by, NEW.created_at
    ) IS DISTINCT FROM (
        OLD.payment_id, OLD.invoice_id, OLD.amount_cents, OLD.method, OLD.paid_at, OLD.reference,
        OLD.recorded_by, OLD.created_at
    ))
    EXECUTE FUNCTION refuse_all_but_redaction('reference');

DROP TRIGGER refunds_never_changed ON refunds;
CREATE CONSTRAINT TRIGGER refunds_never_changed
    AFTER UPDATE OR DELETE ON refunds FOR EACH ROW
    EXECUTE FUNCTION refuse_all_but_redaction('reason');

-- Redacts what people wrote into the books about an anonymized patient. The application may change
-- them in no other way. A bank's reference names who paid; what was sold stays in the lines.
CREATE FUNCTION public.redact_money_of(patient uuid) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
    BEGIN ATOMIC
        UPDATE public.invoices SET void_reason = 'redacted', version = invoices.version + 1
        FROM public.patients
        WHERE invoices.patient_id = patient AND void_reason <> 'redacted'
            AND patients.patient_id = patient AND anonymized_at IS NOT NULL;
        UPDATE public.payments SET reference = 'redacted', version = payments.version + 1
        FROM public.invoices JOIN public.patients USING (patient_id)
        WHERE payments.invoice_id = invoices.invoice_id AND reference <> 'redacted'
            AND patient_id = patient AND anonymized_at IS NOT NULL;
        UPDATE public.refunds SET reason = 'redacted'
        FROM public.payments JOIN public.invoices USING (invoice_id)
            JOIN public.patients USING (patient_id)
        WHERE refunds.payment_id = payments.payment_id AND reason <> 'redacted'
            AND patient_id = patient AND anonymized_at IS NOT NULL;
    END;
