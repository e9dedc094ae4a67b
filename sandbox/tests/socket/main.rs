//! The sandbox over real sockets, as the proxy and a vendor meet it.

#[cfg(test)]
mod altinn;
#[cfg(test)]
mod command;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod endpoints;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod knobs;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod maskinporten;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod pdp;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod saved;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod system_users;
#[cfg(test)]
mod time;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod worlds;
