-- The history tells why a visit took place although something was in its way, also where the change
-- had a reason of its own.
ALTER TABLE appointment_history ADD COLUMN overbook_reason text
    CONSTRAINT appointment_history_overbook_reason_form
    CHECK (length(overbook_reason) BETWEEN 1 AND 500);

CREATE OR REPLACE FUNCTION public.redact_history_of(patient uuid) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
    BEGIN ATOMIC
        UPDATE public.appointment_history
        SET reason = CASE WHEN reason IS NOT NULL THEN 'redacted' END,
            overbook_reason = CASE WHEN appointment_history.overbook_reason IS NOT NULL THEN 'redacted' END
        FROM public.appointments JOIN public.patients USING (patient_id)
        WHERE appointment_history.appointment_id = appointments.appointment_id
            AND (reason <> 'redacted' OR appointment_history.overbook_reason <> 'redacted')
            AND patient_id = patient AND anonymized_at IS NOT NULL;
    END;
