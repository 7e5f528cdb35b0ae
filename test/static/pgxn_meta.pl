# Checks a distribution's META.json against the PGXN meta specification, version 1.0.0 (pgxn.org/spec), and its
# versions against the one given.  Prints what is wrong; nothing: all is right.
#
# usage: perl pgxn_meta.pl META.json VERSION
use strict;
use warnings;

use JSON::PP;

my ($file, $version) = @ARGV;
my @wrong;

my %license = map { $_ => 1 } qw(agpl_3 apache_1_1 apache_2_0 artistic_1 artistic_2 bsd freebsd gfdl_1_2 gfdl_1_3 gpl_1 gpl_2 gpl_3
  lgpl_2_1 lgpl_3_0 mit mozilla_1_0 mozilla_1_1 openssl perl_5 postgresql qpl_1_0 ssleay sun zlib open_source restricted unrestricted unknown);
my %top = map { $_ => 1 } qw(abstract maintainer license name provides version meta-spec description generated_by no_index prereqs
  release_status resources tags);
my %relation = map { $_ => 1 } qw(requires recommends suggests conflicts);
my %phase = map { $_ => 1 } qw(configure build test runtime develop);
my $semantic = qr/\A(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2}(?:-[A-Za-z0-9][-A-Za-z0-9]*)?\z/;

sub claim
{
	my ($holds, $message) = @_;

	push @wrong, $message unless $holds;
	return $holds;
}

sub is_text { my $value = shift; return defined $value && !ref $value && $value =~ /\S/ }

# A name of a distribution or an extension: two characters or more, none of them space, control, slash or backslash.
sub is_term { my $value = shift; return is_text($value) && $value =~ m{\A[^\s/\\\p{Cntrl}]{2,}\z} }

# A text, or a list of texts.
sub is_texts
{
	my $value = shift;
	my @texts = ref $value eq 'ARRAY' ? @$value : ($value);

	return @texts && !grep { !is_text($_) } @texts;
}

sub check_provides
{
	my $provides = shift;

	claim(ref $provides eq 'HASH' && %$provides, 'provides: at least one extension') or return;
	for my $name (sort keys %$provides)
	{
		my $extension = $provides->{$name};

		claim(is_term($name), "provides: \"$name\" is no name");
		claim(ref $extension eq 'HASH', "provides.$name: no object") or next;
		claim(is_text($extension->{file}) && -f $extension->{file}, "provides.$name.file: no such file");
		claim(!exists $extension->{docfile} || -f $extension->{docfile}, "provides.$name.docfile: no such file");
		claim(!exists $extension->{abstract} || is_text($extension->{abstract}), "provides.$name.abstract: empty");
		claim(($extension->{version} // '') eq $version, "provides.$name.version: not $version");
	}
}

sub check_prereqs
{
	my $prereqs = shift;

	for my $phase (sort keys %$prereqs)
	{
		claim($phase{$phase} || $phase =~ /\Ax_/i, "prereqs: no phase \"$phase\"");
		for my $relation (sort keys %{ $prereqs->{$phase} })
		{
			claim($relation{$relation} || $relation =~ /\Ax_/i, "prereqs.$phase: no relation \"$relation\"");
			while (my ($name, $range) = each %{ $prereqs->{$phase}{$relation} })
			{
				for (split /\s*,\s*/, $range)
				{
					claim(/\A(?:(?:<=|>=|<|>|==|!=)\s*)?(.+)\z/ && ($1 eq '0' || $1 =~ $semantic),
						"prereqs.$phase.$relation.$name: \"$_\" is no version");
				}
			}
		}
	}
}

open my $in, '<:raw', $file or die "$file: $!\n";
my $meta = eval { JSON::PP->new->utf8->decode(do { local $/; <$in> }) };
die "$file: $@" unless ref $meta eq 'HASH';

for my $key (sort keys %$meta)
{
	claim($top{$key} || $key =~ /\Ax_/i, "no key \"$key\" is known");
}
claim(is_term($meta->{name}), 'name: missing or no name');
claim(is_text($meta->{abstract}), 'abstract: missing');
claim(is_texts($meta->{maintainer}), 'maintainer: missing');
claim(($meta->{version} // '') =~ $semantic, 'version: missing or not like 1.2.3');
claim(($meta->{version} // '') eq $version, "version: not $version");
if (ref $meta->{license} eq 'HASH')
{
	claim(%{ $meta->{license} } && is_texts([ values %{ $meta->{license} } ]), 'license: no addresses');
}
else
{
	my @licenses = ref $meta->{license} eq 'ARRAY' ? @{ $meta->{license} } : ($meta->{license} // '');
	claim(@licenses && !grep({ !$license{$_} } @licenses), 'license: missing or not known');
}
claim(ref $meta->{'meta-spec'} eq 'HASH' && ($meta->{'meta-spec'}{version} // '') eq '1.0.0', 'meta-spec.version: not 1.0.0');
check_provides($meta->{provides});
claim(($meta->{release_status} // 'stable') =~ /\A(?:stable|testing|unstable)\z/, 'release_status: not known');
claim(!exists $meta->{tags} || (ref $meta->{tags} eq 'ARRAY' && !grep { !is_text($_) || length > 255 } @{ $meta->{tags} }), 'tags: not a list of short texts');
check_prereqs($meta->{prereqs} // {});

print map { "$file: $_\n" } @wrong;
exit(@wrong ? 1 : 0);
