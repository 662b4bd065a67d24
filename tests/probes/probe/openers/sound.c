// SPDX-License-Identifier: GPL-2.0
/* pcm: an ALSA playback stream with its buffer. oss: the same by the OSS emulation. */
#define _GNU_SOURCE
#include <linux/soundcard.h>
#include <sound/asound.h>
#include <string.h>

#include "opener.h"

#define CHANNELS	2
#define RATE		48000
#define FRAME_BITS	32 /* two channels of 16 bits */

static void choose(struct snd_pcm_hw_params *params, int which, unsigned int bit)
{
	struct snd_mask *mask = &params->masks[which - SNDRV_PCM_HW_PARAM_FIRST_MASK];

	memset(mask, 0, sizeof(*mask));
	mask->bits[bit / 32] = 1U << bit % 32;
	params->rmask |= 1U << which;
}

static struct snd_interval *interval(struct snd_pcm_hw_params *params, int which)
{
	return &params->intervals[which - SNDRV_PCM_HW_PARAM_FIRST_INTERVAL];
}

static void fix(struct snd_pcm_hw_params *params, int which, unsigned int value)
{
	struct snd_interval *it = interval(params, which);

	memset(it, 0, sizeof(*it));
	it->min = it->max = value;
	it->integer = 1;
	params->rmask |= 1U << which;
}

/* Everything is allowed that is not chosen. */
static void begin(struct snd_pcm_hw_params *params)
{
	int which;

	memset(params, 0, sizeof(*params));
	memset(params->masks, 0xff, sizeof(params->masks));
	for (which = SNDRV_PCM_HW_PARAM_FIRST_INTERVAL;
	     which <= SNDRV_PCM_HW_PARAM_LAST_INTERVAL; which++)
		interval(params, which)->max = ~0U;
	params->rmask = ~0U;
	params->info = ~0U;
}

static int set_parameters(int fd, uint64_t bytes)
{
	struct snd_pcm_hw_params params;

	begin(&params);
	choose(&params, SNDRV_PCM_HW_PARAM_ACCESS, SNDRV_PCM_ACCESS_MMAP_INTERLEAVED);
	choose(&params, SNDRV_PCM_HW_PARAM_FORMAT, SNDRV_PCM_FORMAT_S16_LE);
	choose(&params, SNDRV_PCM_HW_PARAM_SUBFORMAT, SNDRV_PCM_SUBFORMAT_STD);
	fix(&params, SNDRV_PCM_HW_PARAM_CHANNELS, CHANNELS);
	fix(&params, SNDRV_PCM_HW_PARAM_RATE, RATE);
	fix(&params, SNDRV_PCM_HW_PARAM_BUFFER_SIZE, bytes * 8 / FRAME_BITS);
	fix(&params, SNDRV_PCM_HW_PARAM_PERIOD_SIZE, bytes * 8 / FRAME_BITS / 4);
	return ioctl(fd, SNDRV_PCM_IOCTL_HW_PARAMS, &params);
}

int open_pcm(struct step *step, struct opening *opening)
{
	int fd = open_device(step, opening);

	if (fd < 0)
		return -1;
	opening->length = SOME_PAGES * page_size();
	if (tried(opening, "SNDRV_PCM_IOCTL_HW_PARAMS", set_parameters(fd, opening->length)))
		return drop(fd);
	return fd;
}

int open_oss(struct step *step, struct opening *opening)
{
	int fd = open_device(step, opening);
	/* Eight fragments of a page of 4 KiB, or of 64 KiB. */
	int fragment = SOME_PAGES << 16 | __builtin_ctz(page_size());
	int format = AFMT_S16_LE;
	struct audio_buf_info space;

	if (fd < 0)
		return -1;
	if (tried(opening, "SNDCTL_DSP_SETFRAGMENT", ioctl(fd, SNDCTL_DSP_SETFRAGMENT, &fragment)) ||
	    tried(opening, "SNDCTL_DSP_SETFMT", ioctl(fd, SNDCTL_DSP_SETFMT, &format)) ||
	    tried(opening, "SNDCTL_DSP_GETOSPACE", ioctl(fd, SNDCTL_DSP_GETOSPACE, &space)))
		return drop(fd);
	opening->length = (uint64_t)space.fragstotal * space.fragsize;
	return fd;
}
