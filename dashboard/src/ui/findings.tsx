// The list of what needs attention.
import type { Finding } from '../attention.ts';
import { CodeLink, Foreign } from './basics.tsx';
import { Icon } from './icons.tsx';

const ICONS = { bad: 'alert', warn: 'alert', info: 'info' } as const;
const WORDS = { bad: 'Problem', warn: 'Warning', info: 'Note' };

export function Findings({ findings, showJob }: { findings: Finding[]; showJob?: boolean }) {
  return (
    <ul class="findings">
      {findings.map((finding, i) => (
        <li key={`${finding.job}/${finding.title}/${i}`} class={finding.tone}>
          <Icon name={ICONS[finding.tone]} />
          <div class="what">
            <p class="title">
              <span class="visually-hidden">{WORDS[finding.tone]}: </span>
              {finding.title}
              {showJob && <span class="muted"> in {finding.job}</span>}
              {finding.code && <CodeLink code={finding.code} />}
            </p>
            {finding.text && (
              <p class="text">
                <Foreign text={finding.text.length > 240 ? `${finding.text.slice(0, 240)}…` : finding.text} />
              </p>
            )}
          </div>
          <a class="next" href={`/jobs/${encodeURIComponent(finding.job)}${finding.href}`} aria-label={`${finding.next}: ${finding.title} in ${finding.job}`}>
            {finding.next}
            <Icon name="chevron" size={12} />
          </a>
        </li>
      ))}
    </ul>
  );
}
