-- Ends the line of a month with what happened in it.

SELECT (SELECT sum(documents) FROM billing.run WHERE procedure = 'bill_run' AND date_trunc('month', at) = :'month') AS documents,
       (SELECT count(*) FROM billing.payment WHERE kind = 'payment' AND date_trunc('month', received_at) = :'month') AS payments,
       (SELECT count(*) FROM billing.notification WHERE date_trunc('month', finished_at) = :'month') AS reminders \gset
\warn '' :documents documents, :payments payments, :reminders reminders
