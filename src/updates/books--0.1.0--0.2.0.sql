ALTER TABLE IF EXISTS billing.run ADD COLUMN IF NOT EXISTS spread interval;
ALTER TABLE IF EXISTS billing.run_batch ADD COLUMN IF NOT EXISTS left_out bigint[],
    DROP CONSTRAINT IF EXISTS run_batch_status_check,
    ADD CONSTRAINT run_batch_status_check CHECK (status IN ('pending', 'held', 'done'));
ALTER TABLE IF EXISTS billing.run_worker
    DROP CONSTRAINT IF EXISTS run_worker_phase_check,
    ADD CONSTRAINT run_worker_phase_check CHECK (phase IN ('billing', 'sweeping', 'waiting', 'done', 'stopped'));
