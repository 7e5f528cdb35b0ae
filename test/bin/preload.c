/*
 * preload.c
 *		Loaded after AddressSanitizer into programs that are not built with it.
 *
 * Debian's libgpg-error calls bindtextdomain before the sanitizer is ready, which
 * then never leaves the function and its lock; nobody here needs translations.
 */
extern char *bindtextdomain(const char *domain, const char *folder);

char *
bindtextdomain(const char *domain, const char *folder)
{
	return (void *) 0;
}
